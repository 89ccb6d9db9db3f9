//! What is asked in a history, in few words, and the same as the rules have it.

use crate::lock::{self, Acquire, FencingToken, Label, LockedBy, NewLabel, RequestId, ResourceName, Ttl};

/// What somebody wants who acquires. With an `Idempotency-Key`, all of this is
/// the request that may be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Distinct.
    pub(super) names: Vec<usize>,
    pub(super) key: u8,
    pub(super) ttl: Option<u8>,
    pub(super) label: Option<u8>,
    pub(super) request: Option<u8>,
}

/// What is done to one resource without acquiring it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Release {
        key: Option<u8>,
        token: Option<i64>,
        request: Option<u8>,
    },
    Renew {
        key: u8,
        ttl: Option<u8>,
        label: Option<Option<u8>>,
        token: Option<i64>,
    },
    GiveBack {
        token: i64,
    },
    Expire,
}

impl Wish {
    pub(super) fn is_for_several(&self) -> bool {
        self.names.len() > 1
    }

    pub(super) fn is_for(&self, name: usize) -> bool {
        self.names.contains(&name)
    }

    pub(super) fn proper(&self) -> Acquire {
        Acquire {
            locked_by: key_of(self.key),
            ttl: self.ttl.map(ttl_of),
            label: self.label.map(label_of),
            client: None,
            info: None,
            request: self.request.and_then(|request| request_of(request, self)),
            address: None,
        }
    }
}

impl Operation {
    pub(super) fn request(&self) -> Option<u8> {
        match self {
            Self::Release { request, .. } => *request,
            _ => None,
        }
    }

    pub(super) fn proper(&self) -> lock::Operation {
        match self {
            Self::Release { key, token, request } => lock::Operation::Release(lock::Release {
                locked_by: key.map(key_of),
                fencing_token: token.map(FencingToken::new),
                request: request.and_then(|request| request_of(request, self)),
                address: None,
            }),
            Self::Renew { key, ttl, label, token } => lock::Operation::Renew(lock::Renew {
                locked_by: key_of(*key),
                ttl: ttl.map(ttl_of),
                label: label.map_or(NewLabel::Kept, |label| NewLabel::Set(label.map(label_of))),
                fencing_token: token.map(FencingToken::new),
                address: None,
            }),
            Self::GiveBack { token } => lock::Operation::GiveBack {
                fencing_token: FencingToken::new(*token),
            },
            Self::Expire => lock::Operation::Expire,
        }
    }
}

/// The identity of a request that asks for `body`.
fn request_of(request: u8, body: &impl std::fmt::Debug) -> Option<RequestId> {
    RequestId::new(
        &format!("request {request}"),
        None,
        [Some(format!("{body:?}").as_str())],
    )
}

pub(super) fn key_of(key: u8) -> LockedBy {
    LockedBy::new(format!("key {key}")).expect("well formed")
}

pub(super) fn name_of(name: usize) -> ResourceName {
    ResourceName::new(&format!("name {name}")).expect("well formed")
}

pub(super) fn ttl_of(seconds: u8) -> Ttl {
    Ttl::from_seconds(seconds.into()).expect("in range")
}

pub(super) fn label_of(label: u8) -> Label {
    Label::new(&format!("label {label}")).expect("well formed")
}
