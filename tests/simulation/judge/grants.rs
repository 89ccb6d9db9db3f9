//! What is committed: grants, renewals and ends of locks.

use std::time::Duration;

use central_locking_system::clock::Timestamp;
use central_locking_system::lock::{Lock, Resource, ResourceName};
use tokio::time::Instant;

use super::calls::{EpisodeId, Purpose, State};
use super::{Case, Known};
use crate::plan::Kind;

/// The rule, said once more: nothing here is to be as wrong as what is judged.
pub(super) fn holds(lock: &Lock, now: Timestamp) -> bool {
    lock.expires_at.is_none_or(|expires_at| now < expires_at)
}

impl Case {
    /// A transaction of `server`, which decided at `now` by the database's clock,
    /// has changed a resource.
    pub(super) fn note_commit(&mut self, server: usize, now: Timestamp, before: &Resource, after: &Resource) {
        let name = &after.name;
        let (was, is) = (before.fencing_token.as_i64(), after.fencing_token.as_i64());
        let holder = self.resources.get(name).and_then(|known| known.holder);
        if is < was {
            self.convict(Some(name), format!("its token falls from {was} to {is}"));
        }
        match (&before.lock, &after.lock) {
            (Some(lock), Some(renewed)) if is == was => self.check_renewal(now, name, lock, renewed),
            (None, Some(_)) if is == was => {
                self.convict(
                    Some(name),
                    format!("it is held again with token {was}, which was given back"),
                );
            }
            (Some(lock), _) if holds(lock, now) => self.check_end(name, was, holder),
            _ => {}
        }
        if let (Some(holder), true) = (holder, is > was || after.lock.is_none()) {
            self.episodes[holder].ended = self.clock;
        }
        let mut holder = after.lock.as_ref().and(holder);
        if let Some(lock) = after.lock.as_ref().filter(|_| is > was) {
            holder = self.note_grant(server, now, name, is, lock);
        }
        if after.lock.is_none() {
            self.tell(Some(name), &format!("server {server} commits: free after token {is}"));
        }
        let granted_by = match is > was {
            true => Some(server),
            false => self.resources.get(name).and_then(|known| known.granted_by),
        };
        let known = Known {
            resource: after.clone(),
            holder,
            granted_by,
            free_and_wanted: None,
            changed: self.clock,
        };
        self.resources.insert(name.clone(), known);
    }

    /// Only a lock that still holds is renewed, and for as long as it was asked.
    fn check_renewal(&mut self, now: Timestamp, name: &ResourceName, before: &Lock, after: &Lock) {
        if before.locked_by != after.locked_by {
            self.convict(Some(name), "it has another holder and the same token".to_owned());
        }
        if before.expires_at == after.expires_at {
            return;
        }
        self.tell(Some(name), "is renewed");
        if !holds(before, now) {
            self.convict(Some(name), "a lock is renewed that is over".to_owned());
        }
        if after.expires_at != after.ttl.map(|ttl| now + ttl.as_duration()) {
            self.convict(Some(name), "a renewed lock does not last for its ttl".to_owned());
        }
    }

    /// A lock that holds ends only by the will of who has it, or of one who may
    /// break it; or because nobody was told that it has it.
    fn check_end(&mut self, name: &ResourceName, token: i64, holder: Option<EpisodeId>) {
        let Some(holder) = holder else {
            return;
        };
        if self.may_be_broken(name, token) {
            self.episodes[holder].may_end = true;
            self.episodes[holder].believes = None;
        }
        let it = &self.episodes[holder];
        let is_told = it.told.iter().any(|(of, told)| of == name && *told == token);
        if is_told && !it.may_end {
            let what = format!("token {token} ends while client {} has it", it.client);
            self.convict(Some(name), what);
        }
    }

    /// Whether somebody broke the lock with this token, or nobody knows what came of
    /// an attempt to break it.
    pub(super) fn may_be_broken(&self, name: &ResourceName, token: i64) -> bool {
        self.is_being_broken(name) || self.broken.contains(&token)
    }

    fn is_being_broken(&self, name: &ResourceName) -> bool {
        let mut breaks = self.breaks.iter().map(|call| &self.calls[*call]);
        breaks.any(|call| {
            let is_meant = self.episodes[call.episode].names.contains(name);
            is_meant && call.submitted.is_some() && !call.is_decided
        })
    }

    fn note_grant(
        &mut self,
        server: usize,
        now: Timestamp,
        name: &ResourceName,
        token: i64,
        lock: &Lock,
    ) -> Option<EpisodeId> {
        let key = lock.locked_by.reveal();
        let mut episodes = self.by_key.get(key).into_iter().flatten().rev();
        let episode = episodes.find(|id| self.episodes[**id].names.contains(name));
        let Some((id, episode)) = episode.map(|id| (*id, self.episodes[*id].clone())) else {
            self.convict(Some(name), "it is granted to nobody".to_owned());
            return None;
        };
        self.tell(
            Some(name),
            &format!("server {server} commits: token {token} for client {}", episode.client),
        );
        if !self.tokens.insert(token) {
            self.convict(Some(name), format!("token {token} is granted twice"));
        }
        let ttl = episode.ttl_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        if lock.acquired_at != now || lock.expires_at != ttl.map(|ttl| now + ttl) {
            self.convict(
                Some(name),
                format!("token {token} does not last for its ttl from its grant"),
            );
        }
        self.check_is_there(server, name, id, token);
        self.check_turn(now, name, id);
        Some(id)
    }

    /// Nothing is granted to those of whom the server knew, before it began to
    /// decide, that they had gone.
    fn check_is_there(&mut self, server: usize, name: &ResourceName, episode: EpisodeId, token: i64) {
        let turn_began = self.servers.get(&server).map_or(0, |process| process.turn_began);
        let mut calls = self.episodes[episode].calls.iter().map(|call| &self.calls[*call]);
        let may_be_there = |state: State, over: u64| state == State::Pending || over > turn_began;
        let is_there = calls.any(|call| {
            let asks = call.purpose == Purpose::Acquire && call.submitted.is_some();
            asks && may_be_there(call.state, call.over)
        });
        if !is_there {
            let client = self.episodes[episode].client;
            self.convict(
                Some(name),
                format!("token {token} is granted to client {client}, who has gone"),
            );
        }
    }

    /// Whoever was in line before another one asked is served before.
    fn check_turn(&mut self, decided: Timestamp, name: &ResourceName, granted: EpisodeId) {
        let it = &self.episodes[granted];
        if it.names.len() > 1 {
            return;
        }
        let Some(asked) = it.submitted else {
            return;
        };
        let wants_several = self.pending().any(|call| {
            let names = &self.episodes[call.episode].names;
            call.purpose == Purpose::Acquire && names.len() > 1 && names.contains(name)
        });
        // Whoever keeps something free and waits for a holder lets that one pass. And where locks are broken, those
        // before may have had it for a moment.
        if wants_several || self.is_being_broken(name) {
            return;
        }
        let now = Instant::now();
        let mut pending = self.pending.iter().map(|id| (*id, &self.calls[*id]));
        let passed = pending.find(|(_, call)| {
            let episode = &self.episodes[call.episode];
            let waits = call.purpose == Purpose::Acquire && episode.names == it.names;
            let is_living = call.wait_until.is_some_and(|until| now < until);
            let Some((since, at)) = call.in_line.filter(|_| waits && is_living && call.episode != granted) else {
                return false;
            };
            // It had its turn, which was over before it could be told; or has it in this batch and gives it back; or is
            // sent away.
            let had_it = self.resources.get(name).is_some_and(|known| {
                let is_over = known.resource.lock.as_ref().is_none_or(|lock| !holds(lock, decided));
                known.holder == Some(call.episode) && is_over
            });
            let process = self.servers.get(&call.server);
            let is_sent_away = process.is_some_and(|process| process.is_stopping);
            if had_it || episode.may_end || is_sent_away {
                return false;
            }
            // What went wrong with its server may have cost it its place, or the belief of others.
            let trouble = self.trouble_of(call.server).filter(|_| self.kind == Kind::Shared);
            since < asked && trouble.is_none_or(|trouble| trouble < at)
        });
        if let Some((passed, call)) = passed {
            let waiting = self.episodes[call.episode].client;
            let what = format!(
                "client {} passes client {waiting}, who waits by call {passed}",
                it.client
            );
            self.convict(Some(name), what);
        }
    }
}
