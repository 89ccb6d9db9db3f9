//! The tables as diesel sees them; the migrations make them.

diesel::table! {
    /// One row for each resource that was ever acquired.
    resources (id) {
        /// The row's number.
        id -> BigInt,
        /// 1 to 100 characters.
        name -> Text,
        /// The holder's key; NULL is free.
        locked_by -> Nullable<Text>,
        /// Whole seconds; NULL never expires.
        ttl -> Nullable<BigInt>,
        /// Microseconds since 1970.
        acquired_at_us -> Nullable<BigInt>,
        /// Microseconds since 1970.
        expires_at_us -> Nullable<BigInt>,
        /// Microseconds since 1970.
        released_at_us -> Nullable<BigInt>,
        /// The token of the latest grant.
        fencing_token -> BigInt,
        /// For people.
        label -> Nullable<Text>,
        /// The request that was granted, if it may be sent again.
        acquire_request -> Nullable<Text>,
        /// The request that released last, if it may be sent again.
        release_request -> Nullable<Text>,
        /// 1 if the request that was granted was sent and answered again.
        told_again -> Nullable<BigInt>,
        /// The name of the token that it was asked for with.
        owner -> Nullable<Text>,
        /// How the latest lock was broken, if it was: JSON.
        broken -> Nullable<Text>,
        /// Who asked for the lock, where that is counted.
        client -> Nullable<Text>,
        /// What the holder says of itself, for programs of its kind.
        info -> Nullable<Text>,
        /// How many renewals there were in a row that said the same; NULL is none.
        renewals -> Nullable<BigInt>,
        /// The latest row of lock_events about it.
        last_event_id -> Nullable<BigInt>,
    }
}

diesel::table! {
    /// What happened, one row for each event. Rows are never changed.
    lock_events (id) {
        /// Rises.
        id -> BigInt,
        /// The event before it of the same resource.
        previous_id -> Nullable<BigInt>,
        /// Microseconds since 1970.
        at_us -> BigInt,
        /// acquired, renewed, released, expired, broken or deadlock.
        event -> Text,
        /// The name of the resource.
        resource -> Text,
        /// Of the grant that it is about.
        fencing_token -> BigInt,
        /// The name of the token of the lock's holder.
        owner -> Nullable<Text>,
        /// For people.
        label -> Nullable<Text>,
        /// Whole seconds; NULL never expires.
        ttl -> Nullable<BigInt>,
        /// Microseconds since 1970.
        expires_at_us -> Nullable<BigInt>,
        /// The name of the token of whoever asked.
        asked_by -> Nullable<Text>,
        /// From where it was asked.
        address -> Nullable<Text>,
        /// For people.
        reason -> Nullable<Text>,
    }
}

diesel::table! {
    /// Who may use the server.
    tokens (id) {
        /// For people to revoke it by.
        id -> BigInt,
        /// Owns locks; several tokens may share it.
        name -> Text,
        /// SHA-256 in hexadecimal.
        key_hash -> Text,
        /// A JSON list.
        prefixes -> Text,
        /// Separated by commas.
        verbs -> Text,
        /// Microseconds since 1970.
        created_at_us -> BigInt,
        /// Microseconds since 1970; NULL never expires.
        expires_at_us -> Nullable<BigInt>,
        /// Microseconds since 1970.
        revoked_at_us -> Nullable<BigInt>,
    }
}

diesel::table! {
    /// One row.
    token_changes (number) {
        /// Rises whenever a token changes.
        number -> BigInt,
    }
}

diesel::table! {
    /// Who has signed in at the operators' page.
    sessions (id_hash) {
        /// SHA-256 in hexadecimal.
        id_hash -> Text,
        /// Of the token that was shown.
        token_id -> BigInt,
        /// Microseconds since 1970.
        created_at_us -> BigInt,
        /// Microseconds since 1970.
        expires_at_us -> BigInt,
    }
}

diesel::table! {
    /// PostgreSQL only: who waits, at which server.
    waiters (name, replica, place) {
        /// Of the resource.
        name -> Text,
        /// The server, as `replicas` numbers it; 0 where a place is vacant.
        replica -> BigInt,
        /// Of two for one resource the lower one is served first.
        place -> BigInt,
        /// Microseconds since 1970.
        wait_until_us -> BigInt,
        /// By which request, if it can be known again.
        request -> Nullable<Text>,
        /// Until when a vacant place is kept; microseconds since 1970.
        vacant_until_us -> Nullable<BigInt>,
    }
}

diesel::table! {
    /// PostgreSQL only: the servers on the database.
    replicas (id) {
        /// A new one each time that a server starts.
        id -> BigInt,
        /// For people.
        description -> Text,
        /// Microseconds since 1970.
        started_at_us -> BigInt,
        /// When it last gave a sign of life; microseconds since 1970.
        seen_us -> BigInt,
    }
}

diesel::table! {
    /// One row.
    server_state (id) {
        /// Always 1.
        id -> BigInt,
        /// The highest token ever granted.
        fencing_token -> BigInt,
        /// The latest instant at which something was granted.
        clock_us -> BigInt,
        /// The server's clock minus the wall clock.
        clock_offset_us -> BigInt,
    }
}
