//! The values that labels have: few, and all known beforehand.

/// A label of which each value has a place.
pub trait Label: Copy {
    /// Its name.
    const NAME: &'static str;

    /// Its values as they are shown, in the order of their places.
    const SHOWN: &'static [&'static str];

    /// Where this value stands.
    fn place(self) -> usize;
}

/// The values of a label as they are shown, in the order of their places.
pub(super) fn series<L: Label>() -> impl Iterator<Item = &'static str> {
    L::SHOWN.iter().copied()
}

macro_rules! label {
    ($(#[$doc:meta])* $type:ident = $name:literal { $($(#[$value_doc:meta])* $value:ident = $shown:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $($(#[$value_doc])* $value,)+
        }

        impl Label for $type {
            const NAME: &'static str = $name;
            const SHOWN: &'static [&'static str] = &[$($shown),+];

            fn place(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// How somebody came to a lock.
    Way = "how" {
        /// It was free.
        AtOnce = "at_once",
        /// In line.
        AfterWaiting = "after_waiting",
        /// By a request that was sent before, and was told so again.
        ToldAgain = "told_again",
    }
}

label! {
    /// Why a request did not get what it asked for.
    Refusal = "reason" {
        /// Somebody else holds the resource, and it did not wait.
        Locked = "locked",
        /// Its wait was in vain: 408.
        Timeout = "timeout",
        /// A release of what somebody else holds.
        InvalidUnlock = "invalid_unlock",
        /// A renewal of what somebody else holds.
        InvalidRenew = "invalid_renew",
        /// Nobody holds the resource.
        NotAcquired = "not_acquired",
        /// The same, because the caller's lock was broken.
        WasBroken = "was_broken",
        /// Its wait would never have ended.
        Deadlock = "deadlock",
        /// Its `Idempotency-Key` was used for another request.
        KeyReused = "key_reused",
        /// It was sent again while it waited.
        Superseded = "superseded",
        /// Its client asks too often.
        Throttled = "throttled",
        /// Too many requests of its client wait.
        ClientWaiters = "client_waiters",
        /// Its client holds too many locks.
        ClientLocks = "client_locks",
        /// Too many operations are queued.
        QueueFull = "queue_full",
        /// Too many requests wait.
        WaitersFull = "waiters_full",
        /// Too many requests wait for the same resource.
        LineFull = "line_full",
        /// The database failed.
        Store = "store",
        /// The answer came too late.
        Late = "late",
        /// The server is being stopped.
        Stopping = "stopping",
    }
}

label! {
    /// A method of HTTP; one that nobody serves is like any other such.
    HttpMethod = "method" {
        /// GET
        Get = "GET",
        /// HEAD
        Head = "HEAD",
        /// POST
        Post = "POST",
        /// PUT
        Put = "PUT",
        /// PATCH
        Patch = "PATCH",
        /// DELETE
        Delete = "DELETE",
        /// OPTIONS
        Options = "OPTIONS",
        /// LOCK
        Lock = "LOCK",
        /// UNLOCK
        Unlock = "UNLOCK",
        /// Any other.
        Other = "other",
    }
}

impl HttpMethod {
    /// The method of this name.
    pub fn of(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            "LOCK" => Self::Lock,
            "UNLOCK" => Self::Unlock,
            _ => Self::Other,
        }
    }
}

label! {
    /// The class of a status.
    HttpStatus = "status" {
        /// 100 to 199.
        Informational = "1xx",
        /// 200 to 299.
        Success = "2xx",
        /// 300 to 399.
        Redirection = "3xx",
        /// 400 to 499.
        ClientError = "4xx",
        /// All others.
        ServerError = "5xx",
    }
}

impl HttpStatus {
    /// The class of a status.
    pub fn of(status: u16) -> Self {
        match status / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_statuses_are_few() {
        for name in HttpMethod::SHOWN {
            let shown = HttpMethod::SHOWN[HttpMethod::of(name).place()];
            assert_eq!(shown, *name);
        }
        assert_eq!(HttpMethod::of("PROPFIND"), HttpMethod::Other);
        assert_eq!(HttpMethod::of("get"), HttpMethod::Other);
        for (status, class) in [(101, "1xx"), (204, "2xx"), (304, "3xx"), (499, "4xx"), (503, "5xx")] {
            assert_eq!(HttpStatus::SHOWN[HttpStatus::of(status).place()], class);
        }
    }
}
