//! What goes wrong, and for how long.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::database::Weather;
use crate::plan::Kind;
use crate::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A server ends, and tells nobody; another is started later.
    Kill,
    /// A server is told to stop, and another is started.
    Stop,
    /// A server's process stands still for a while.
    Pause,
    /// The database cannot be reached, and has ended all sessions.
    Restart,
    /// Commits fail, or nobody learns that they did not.
    FailingCommits,
    /// Commits take long.
    SlowDisk,
    /// Answers to clients, and their requests, are lost.
    LostAnswers,
    /// A server's session for announcements ends.
    CutEar,
    /// A server's session for announcements hears nothing and does not say so.
    DeafEar,
    /// Announcements are late, and doubled.
    LateNotices,
    /// The machine's wall clock is set.
    SetClock,
}

const OF_EMBEDDED: &[Fault] = &[
    Fault::Kill,
    Fault::Stop,
    Fault::Pause,
    Fault::Restart,
    Fault::FailingCommits,
    Fault::SlowDisk,
    Fault::LostAnswers,
    Fault::SetClock,
];

const OF_SHARED: &[Fault] = &[
    Fault::Kill,
    Fault::Stop,
    Fault::Pause,
    Fault::Restart,
    Fault::FailingCommits,
    Fault::SlowDisk,
    Fault::LostAnswers,
    Fault::CutEar,
    Fault::DeafEar,
    Fault::LateNotices,
    Fault::SetClock,
];

impl Fault {
    pub fn of(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Embedded => OF_EMBEDDED,
            Kind::Shared => OF_SHARED,
        }
    }
}

/// Has things go wrong until told otherwise, one after the other.
pub async fn disturb(world: Rc<World>) {
    let chance = &world.chance;
    if world.plan.is_calm() {
        return;
    }
    loop {
        let about = world.plan.fault_interval.as_millis() as usize;
        sleep(chance.ms(about / 2..about * 3 / 2 + 1)).await;
        if world.is_finishing.get() {
            return;
        }
        let fault = *chance.pick(&world.plan.faults);
        happen(&world, fault).await;
    }
}

async fn happen(world: &Rc<World>, fault: Fault) {
    let chance = &world.chance;
    let database = &world.database;
    match fault {
        Fault::Kill => {
            if let Some(server) = world.some_server() {
                server.kill();
                sleep(chance.ms(0..2500)).await;
                world.start_server();
            }
        }
        Fault::Stop => {
            if let Some(server) = world.some_server() {
                // Where servers share the database the new one may be there before the old has gone.
                if world.plan.kind == Kind::Shared && chance.percent(50) {
                    world.start_server();
                    server.stop().await;
                } else {
                    server.stop().await;
                    sleep(chance.ms(0..500)).await;
                    world.start_server();
                }
            }
        }
        Fault::Pause => {
            if let Some(server) = world.some_server() {
                let lasts = chance.ms(5..5000);
                spawn_local(async move { server.pause(lasts).await });
            }
        }
        Fault::Restart => {
            world.judge.trouble(None, "the database is down");
            {
                let mut state = database.lock();
                state.is_up = false;
                let now = state.wall_clock();
                state.restart(now);
            }
            world.cut_ears();
            sleep(chance.ms(5..3000)).await;
            let mut state = database.lock();
            state.is_up = true;
            let now = state.wall_clock();
            state.restart(now);
            drop(state);
            world.judge.trouble(None, "the database is up");
        }
        Fault::FailingCommits => {
            let lasts = chance.ms(100..2500);
            let weather = Weather {
                failing_percent: *chance.pick(&[0, 20, 60]),
                unknown_percent: *chance.pick(&[0, 20, 60]),
                ..Weather::default()
            };
            spell(world, lasts, "commits fail", weather).await;
        }
        Fault::SlowDisk => {
            let lasts = chance.ms(200..4000);
            let weather = Weather {
                commit_ms_max: *chance.pick(&[100, 1000, 3500]),
                ..Weather::default()
            };
            spell(world, lasts, "the disk is slow", weather).await;
        }
        Fault::LostAnswers => {
            world.judge.note("answers are lost");
            world.lost_percent.set(*chance.pick(&[5, 30, 60]));
            sleep(chance.ms(200..4000)).await;
            world.lost_percent.set(0);
            world.judge.note("answers are not lost any more");
        }
        Fault::CutEar => {
            if let Some(server) = world.some_server() {
                let lasts = chance.ms(0..1500);
                spawn_local(async move { server.cut_ear(lasts).await });
            }
        }
        Fault::DeafEar => {
            if let Some(server) = world.some_server() {
                let lasts = chance.ms(500..8000);
                spawn_local(async move { server.deafen(lasts).await });
            }
        }
        Fault::LateNotices => {
            let lasts = chance.ms(200..3000);
            let weather = Weather {
                notify_ms_max: *chance.pick(&[50, 500, 2500]),
                doubled_percent: *chance.pick(&[0, 50]),
                ..Weather::default()
            };
            spell(world, lasts, "announcements are late", weather).await;
        }
        Fault::SetClock => {
            let far = Duration::from_secs(*chance.pick(&[1, 5, 3600])).as_micros() as i64;
            let by_us = if chance.percent(50) { far } else { -far };
            database.lock().set_clock(by_us);
            world.judge.clock_set(by_us);
        }
    }
}

/// Lets the database do worse for a while.
async fn spell(world: &World, lasts: Duration, what: &str, weather: Weather) {
    world.judge.trouble_for(None, lasts, what);
    world.database.lock().weather = weather;
    sleep(lasts).await;
    world.database.lock().weather = Weather::default();
    world.judge.trouble(None, "that is over");
}
