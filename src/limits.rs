//! Every bound of the server, with its unit and its reason.
//!
//! What an operator may need to change is a setting whose default stands
//! here; what is part of the contract or protects it is fixed.

use std::time::Duration;

/// Characters of a resource's name. The original's column.
pub const NAME_CHARS_MAX: usize = 100;

/// Characters of `locked_by`. The original's column.
pub const LOCKED_BY_CHARS_MAX: usize = 100;

/// Characters of a label: a line on a screen and some more.
pub const LABEL_CHARS_MAX: usize = 200;

/// Characters of each text in Terraform's LockInfo; the longest is `user@host`.
pub const LOCK_INFO_TEXT_CHARS_MAX: usize = 200;

/// Characters of what a holder says of itself: a LockInfo of the longest texts,
/// each character of which JSON writes with six. A usual one has 200.
pub const INFO_CHARS_MAX: usize = 8192;

/// Characters of the name of a token, which owns locks.
pub const OWNER_CHARS_MAX: usize = 100;

/// Characters of the reason for which a lock is broken.
pub const REASON_CHARS_MAX: usize = 200;

/// Characters of an `Idempotency-Key`: a UUID has 36.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 100;

/// Resources that one request may acquire together. Each of them is a row that
/// is locked with the others.
pub const NAMES_TOGETHER_MAX: usize = 64;

/// Resources on a page of the list, if the client does not say: Django REST
/// framework's usual.
pub const LIST_PAGE_SIZE: u32 = 10;

/// The most resources on a page of the list: some 300 KiB.
pub const LIST_PAGE_SIZE_MAX: u32 = 1000;

/// Seconds of a ttl: the largest value of Django's positive integer column.
pub const TTL_SECONDS_MAX: u32 = 2_147_483_647;

/// Seconds of a timeout: the same, 68 years. WAITERS_MAX bounds the damage.
pub const TIMEOUT_SECONDS_MAX: u32 = 2_147_483_647;

/// Bytes of a body. A request needs some 300; the rest is for clients that
/// send more than we read.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Bytes of bodies that are read at a time, all requests together; beyond it the
/// answer is 503. A body that comes with its head in one piece, as nearly all
/// do, is not counted: it lies in what is bounded for its connection.
pub const BODIES_BYTES_MAX: usize = 128 << 20;

/// How long a whole body may take to arrive, so that a client that sends a
/// byte a second holds a connection, with DISCONNECT_WAIT_MAX, for ten seconds.
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(8);

/// How long a TLS handshake may take: two round trips, and the time until the
/// others that came before are done.
pub const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(5);

/// TLS handshakes that each thread has under way; further connections wait in
/// the backlog. A handshake costs about a millisecond with an RSA key, so that
/// the last of them is done well before HANDSHAKE_WAIT_MAX when everybody
/// connects again at once.
pub const HANDSHAKES_MAX: usize = 2048;

/// Bytes of a file with certificates or a key: some hundred certificates.
pub const TLS_FILE_BYTES_MAX: u64 = 1 << 20;

/// How long the head of a request may take to arrive.
pub const HEAD_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long a connection may take to close down after its last answer.
pub const DISCONNECT_WAIT_MAX: Duration = Duration::from_secs(2);

/// Bytes that the system keeps of a connection in each direction (Linux takes
/// it twice). Left alone it would go up to megabytes for who does not read.
pub const SOCKET_BUFFER_BYTES: usize = 128 << 10;

/// How long an answer may stay unread by a client whose buffers are full, or
/// unacknowledged by its machine, until the connection is ended.
pub const UNREAD_WAIT_MAX: Duration = Duration::from_secs(9);

/// How often a silent client's machine is asked whether it is still there. One
/// that does not answer is given up at the second time, with its place in line.
pub const KEEPALIVE_PROBE_INTERVAL: Duration = Duration::from_secs(15);

/// Fields of a form or a JSON object: Django's DATA_UPLOAD_MAX_NUMBER_FIELDS.
pub const FIELDS_MAX: usize = 1000;

/// Levels of a JSON body; what reads it deeper could exhaust the stack.
pub const JSON_DEPTH_MAX: usize = 128;

/// Characters of a number that is sent as text. Django REST framework's
/// `IntegerField.MAX_STRING_LENGTH`.
pub const INTEGER_CHARS_MAX: usize = 1000;

/// Operations in one transaction. More would make the first of them wait for
/// the last; less would share a commit among fewer.
pub const BATCH_OPERATIONS_MAX: usize = 512;

/// Operations that an operation on everything a key holds counts as: it has a
/// transaction of its own.
pub const BULK_WEIGHT: usize = 64;

/// How long a resource is kept free, at first, for somebody who wants it
/// together with others that are not free yet. Each time it was in vain, twice
/// as long.
pub const KEPT_FREE_MAX: Duration = Duration::from_secs(1);

/// A wait for one resource that is at least so long yet when it is decided, which
/// is one of three seconds or more, is refused if it would be a deadlock. A
/// shorter one is over soon by itself, with the original's answer.
pub const DEADLOCK_TOLD_FROM: Duration = Duration::from_millis(2500);

/// How often a request may be put off to be decided with more rows. Each time
/// it is known more exactly whether its wait would be a deadlock; after the last
/// it waits.
pub const PUT_OFF_MAX: u32 = 3;

/// Operations that wait for a transaction; beyond it the answer is 503.
/// Twenty full batches, so some tens of milliseconds of work.
pub const OPERATIONS_QUEUED_MAX: usize = 10_240;

/// Requests that wait for a lock, all resources together; beyond it the answer
/// is 503. At about 20 KiB each, 1 GiB; over TLS twice as much.
pub const WAITERS_MAX: usize = 50_000;

/// Requests that wait for one resource; beyond it the answer is 429.
pub const WAITERS_PER_RESOURCE_MAX: usize = 10_000;

/// Open connections; beyond it a request is answered 503 and its connection
/// closed. Ten thousand more than WAITERS_MAX, so that those who wait leave
/// room for those who release.
pub const CONNECTIONS_MAX: usize = 60_000;

/// Descriptors kept for the database, the log, the listener and for answering
/// 503 where the operating system's limit is below CONNECTIONS_MAX.
pub const DESCRIPTORS_RESERVED: usize = 64;

/// Clients that are known to have asked within the last moments, where
/// CLIENT_REQUESTS_PER_SECOND is set: at most 6 MiB. Whoever is beyond is not
/// counted; as many clients at once are not hindered by a bound for each.
pub const CLIENTS_COUNTED_MAX: usize = 65_536;

/// How long the answer to a client that is refused over and over is held back.
/// As long as that answer tells it to wait.
pub const THROTTLED_DELAY: Duration = Duration::from_secs(1);

/// How long an idle connection is kept for its next request.
pub const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Rows that are kept in memory so that they need not be read again: at some
/// 300 bytes each, 5 MiB.
pub const ROWS_CACHED_MAX: usize = 16_384;

/// How long SQLite waits for another process that has the file locked.
pub const BUSY_WAIT_MAX: Duration = Duration::from_secs(2);

/// The same for the transactions after one for which it waited in vain, until
/// one succeeds: a full queue is then answered within two seconds.
pub const BUSY_AGAIN_WAIT_MAX: Duration = Duration::from_millis(50);

/// How long a connection to PostgreSQL may take. With several hosts in the URL,
/// each of them. A request waits for it before it is answered 503.
pub const CONNECT_WAIT_MAX: Duration = Duration::from_secs(2);

/// How long PostgreSQL may wait for a row, or for a table to be migrated, that
/// another session has locked.
pub const ROW_LOCK_WAIT_MAX: Duration = Duration::from_secs(2);

/// The same for the transactions after one that failed, until one succeeds: a
/// full queue does not wait for the same row over and over.
pub const ROW_LOCK_AGAIN_WAIT_MAX: Duration = Duration::from_millis(50);

/// How long one statement may take. Each takes some milliseconds; the bound is
/// for a database that is overloaded.
pub const STATEMENT_TIME_MAX: Duration = Duration::from_secs(3);

/// How long a transaction on PostgreSQL may take before its session is ended.
/// Beyond STATEMENT_TIME_MAX, which bounds everything but COMMIT; and below the
/// five seconds after which a request must have an answer.
pub const TRANSACTION_TIME_MAX: Duration = Duration::from_secs(4);

/// How long COMMIT on PostgreSQL may take to be believed without a question,
/// where a synchronous standby is waited for. Below what somebody needs who
/// cancels the wait; far beyond what a standby needs.
pub const COMMIT_BELIEVED_MAX: Duration = Duration::from_secs(1);

/// How long a request that does not wait for a lock waits to be decided. The
/// store bounds its own transactions below this; but it can do nothing about a
/// database, or a disk, that keeps the connection and says nothing.
pub const DECISION_WAIT_MAX: Duration = Duration::from_secs(5);

/// Between two looks for such a transaction.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// How long PostgreSQL keeps a transaction whose server says nothing: one that
/// is stopped, or gone with its network. Others wait for its rows no longer
/// than this, and so answer within three seconds. Less than ROW_LOCK_WAIT_MAX,
/// so that they get the rows, and less than REPLICA_SILENT_MAX, so that nobody
/// takes them for gone as well.
pub const IDLE_IN_TRANSACTION_MAX: Duration = Duration::from_secs(1);

/// How long either side of a connection to PostgreSQL believes in it without a
/// sign of life. A partitioned database is given up after this and not, as the
/// operating system would, after a quarter of an hour.
pub const PEER_SILENT_MAX: Duration = Duration::from_secs(4);

/// How long a server waits for the one before it to let go of a PostgreSQL
/// database: that one was killed, and its session is about to notice.
pub const OWNER_WAIT_MAX: Duration = Duration::from_millis(1500);

/// How long `cls migrate` waits for another one on the same database.
pub const MIGRATION_WAIT_MAX: Duration = Duration::from_secs(600);

/// Attempts to find or insert the rows of a batch on PostgreSQL; each fails
/// only if somebody else deletes one of them in between.
pub const INSERT_ATTEMPTS_MAX: usize = 5;

/// Fencing tokens that one transaction on PostgreSQL may grant. A batch is at
/// most BATCH_OPERATIONS_MAX that were sent, or as many of the server's own, and
/// each may grant twice: to whoever is in line, and to who asked. As many again
/// are for those in line who want several resources at once.
pub const TOKENS_PER_BATCH: i64 = 4 * BATCH_OPERATIONS_MAX as i64;

/// Places in line that one transaction on PostgreSQL may give.
pub const PLACES_PER_BATCH: i64 = BATCH_OPERATIONS_MAX as i64;

/// On PostgreSQL, numbers in a block of sequence `lock_event_ids`, as the
/// migration has it. Each transaction that records takes as many blocks as it may
/// need, mostly one.
pub const EVENTS_STEP: i64 = 4096;

/// Places in line that a session takes at a time, with its tokens.
pub const PLACES_STEP: i64 = 2 * PLACES_PER_BATCH;

/// Numbers that a session takes at a time, for tokens and, the last PLACES_STEP
/// of them, for places in line; so that a server alone needs more only now and
/// then. Where servers take turns and each batch needs more, 2,000 times a
/// second, 2^53 is reached in 35 years.
pub const TOKENS_STEP: i64 = 2 * TOKENS_PER_BATCH;

/// Between two signs of life of a server on a database that others may share.
pub const BEAT_INTERVAL: Duration = Duration::from_millis(500);

/// A server whose last sign of life is so long ago is not waited for any more.
/// Four beats; and below the three seconds for which one that is gone may hold
/// up those who wait elsewhere.
pub const REPLICA_SILENT_MAX: Duration = Duration::from_secs(2);

/// What is known of a server that was silent for so long is deleted.
pub const REPLICA_FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// How long the place of somebody who waited with an `Idempotency-Key` is kept
/// who was sent away because the server stops. Longer than RETRY_AFTER, and
/// no longer than one that is gone may hold up those who wait elsewhere.
pub const VACANT_PLACE_MAX: Duration = Duration::from_secs(3);

/// How long a resource may be free until the server at which the first in line
/// waits is told so again, by whoever sees it.
pub const REMIND_AFTER: Duration = Duration::from_millis(200);

/// Between two looks for announcements while somebody waits; half of it is
/// added to a hand-over between servers. Each costs a system call and no
/// statement.
pub const LISTEN_INTERVAL: Duration = Duration::from_millis(1);

/// The same shortly after something was heard.
pub const LISTEN_BUSY_INTERVAL: Duration = Duration::from_micros(250);

/// How long that is.
pub const LISTEN_BUSY_TIME: Duration = Duration::from_millis(50);

/// The same while nobody waits; it ends when somebody does.
pub const LISTEN_IDLE_INTERVAL: Duration = Duration::from_millis(20);

/// Between two calls by which a server finds out whether it hears any.
pub const CALL_INTERVAL: Duration = Duration::from_secs(10);

/// How long no call may be heard until the server looks by itself.
pub const CALL_SILENT_MAX: Duration = Duration::from_secs(25);

/// Between two looks at all lines while announcements are not heard.
pub const DEAF_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long somebody who watches a resource waits for room in the queue to look
/// at it: some batches.
pub const WATCH_RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Between two looks for what other servers did to resources that somebody
/// watches.
pub const WATCHED_LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Fencing tokens that a promoted standby, or a backup, may lack of those that
/// were granted. Two hours of servers that take turns without a pause; and 2^53
/// is reached after a hundred thousand promotions.
pub const TOKENS_LOST_MAX: i64 = 1 << 36;

/// Fencing tokens that a server on SQLite grants in a second, at the very most:
/// each is a row that one thread writes. After a restore this many are skipped
/// for each second since the copy was made; 2^53 is reached after 285 years.
pub const TOKENS_PER_SECOND_MAX: i64 = 1_000_000;

/// Between two looks at a resource that could not be looked at for long.
pub const SUSPECT_INTERVAL_MAX: Duration = Duration::from_secs(2);

/// Between such a look that failed and the next one at another.
pub const SUSPECT_REST: Duration = Duration::from_millis(25);

/// Such resources that are looked at between two batches.
pub const SUSPECTS_AT_ONCE_MAX: usize = 8;

/// Between two attempts to open a database again that has failed.
pub const REOPEN_INTERVAL: Duration = Duration::from_millis(250);

/// Between two sweeps for expired locks. A sweep only tidies the table: an
/// expired lock is free before it.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A sweep that is so late is not put off any more by those who wait for a
/// decision. Where somebody always does, it comes every two seconds, with a look
/// for rows to prune; seldom enough to cost them nothing.
pub const SWEEP_DELAY_MAX: Duration = Duration::from_secs(1);

/// Rows that one sweep clears.
pub const SWEEP_ROWS_MAX: usize = 256;

/// Between two looks for rows that nobody has used for long.
pub const PRUNE_INTERVAL: Duration = Duration::from_secs(1);

/// Rows that one such look reads: 3.6 million an hour, or half of it under load
/// without a pause, for a millisecond each second; and a few more where all of them
/// go. The table is bounded only while fewer names are new. It holds those of
/// PRUNE_AFTER_DAYS and, where a million are new each hour, a fifth more.
pub const PRUNE_ROWS_MAX: usize = 1000;

/// Days after which a free row that nobody has used is deleted.
pub const PRUNE_AFTER_DAYS: u32 = 30;

/// Events of one resource that its history shows: each is looked up by the one
/// that follows it.
pub const HISTORY_SHOWN_MAX: i64 = 10_000;

/// Between two looks for events that others may have recorded, while somebody
/// wants to know.
pub const FEED_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// After a look for events: what happens meanwhile is read together.
pub const FEED_PAUSE: Duration = Duration::from_millis(10);

/// After a look for events that failed.
pub const FEED_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The latest events that are in memory, of some hundred bytes each.
pub const FEED_EVENTS_KEPT: usize = 4096;

/// Events that are read together.
pub const FEED_EVENTS_READ: u32 = 1000;

/// Between two signs of life of a stream in which nothing happens.
pub const STREAM_BEAT_INTERVAL: Duration = Duration::from_secs(15);

/// How long a client is asked to wait before it connects anew to a stream.
pub const STREAM_RETRY: Duration = Duration::from_secs(1);

/// Between two looks for events that are not to be kept, once there are none.
pub const HISTORY_PRUNE_INTERVAL: Duration = Duration::from_secs(5);

/// Events that one such look deletes at most: a millisecond or two, during which
/// nobody is answered.
pub const HISTORY_PRUNE_ROWS_MAX: usize = 2000;

/// How late PostgreSQL's statistics may know how many events there are: a session
/// that is in use tells them once a second, and where a process collects them, as
/// before PostgreSQL 15, they are half a second older. Less than
/// HISTORY_PRUNE_INTERVAL.
pub const STATISTICS_LATE_MAX: Duration = Duration::from_secs(3);

/// Days after which an event is deleted.
pub const HISTORY_DAYS: u32 = 30;

/// Events beyond which the oldest are deleted: some 100 bytes each.
pub const HISTORY_EVENTS_MAX: u32 = 1_000_000;

/// What a client that was refused for lack of room is asked to wait.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long the end of the server is put off while grants that reached nobody
/// cannot be given back because the database fails.
pub const LAST_RETURNS_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long the end of the server is put off for what is queued then. Beyond
/// LAST_RETURNS_WAIT_MAX; and with SHUTDOWN_WAIT_MAX below five seconds.
pub const BATCHER_END_WAIT_MAX: Duration = Duration::from_millis(1500);

/// From SIGTERM until requests that are still running are cut off.
pub const SHUTDOWN_WAIT_MAX: Duration = Duration::from_secs(3);

/// Lists and searches that are read at a time. Each may read a million rows, and
/// so takes a core for a tenth of a second.
pub const CATALOG_CONNECTIONS_MAX: usize = 2;

/// How long one more waits for its turn, or for PostgreSQL to be connected to.
pub const CATALOG_WAIT_MAX: Duration = Duration::from_secs(2);

/// How long a connection to PostgreSQL is kept for the next list. Whoever looks
/// at pages one after another comes sooner.
pub const CATALOG_IDLE_MAX: Duration = Duration::from_secs(60);

/// Characters of what is searched for. Longer than a label.
pub const SEARCH_CHARS_MAX: usize = 300;

/// Words of it: each is looked for in every row.
pub const SEARCH_WORDS_MAX: usize = 10;

/// Resources that one key may hold to have all of them renewed or released at
/// once: as many names, of 100 characters, are 10 MB.
pub const HELD_BY_MAX: usize = 100_000;

/// Characters of an `X-Request-ID` that is kept: room for whatever proxies make,
/// and not for what would fill the log.
pub const REQUEST_ID_CHARS_MAX: usize = 100;

/// Characters of a `SECRET_KEY`: half of what `openssl rand -hex 32` makes.
pub const SECRET_KEY_CHARS_MIN: usize = 32;

/// Prefixes of a token that is made over HTTP: each name is compared with all of
/// them.
pub const TOKEN_PREFIXES_MAX: usize = 100;

/// Between two samples of what the server does, for the operators' page.
pub const FIGURES_INTERVAL: Duration = Duration::from_secs(5);

/// Samples that are kept: 15 minutes.
pub const FIGURES_MAX: usize = 180;

/// How long a session at the operators' page lasts: a shift.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);

/// Between two looks whether a token was made or revoked.
pub const TOKENS_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// For how long after a look the tokens are believed to be as they were then.
/// No token that was revoked is good for longer.
pub const TOKENS_BELIEVED_MAX: Duration = Duration::from_secs(2);

/// For how long a look whether the server is ready is believed: however many
/// ask, the database is asked once a second.
pub const READINESS_BELIEVED_MAX: Duration = Duration::from_secs(1);

/// How long one who asks for it waits for that look. Below the two seconds in
/// which those who ask expect an answer.
pub const READINESS_WAIT_MAX: Duration = Duration::from_millis(1500);

/// Seconds for which a server that was told to stop may go on serving.
pub const DRAIN_SECONDS_MAX: u32 = 3600;

/// How much of an answer a client reads: a page of a thousand resources, each
/// as long as can be.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

/// How long a client waits for its place in line before it asks once more for the
/// same, by another connection: one that is dead is not seen otherwise, and proxies
/// cut those that are silent for a minute, some for half of one.
pub const ASK_AGAIN_INTERVAL: Duration = Duration::from_secs(20);

/// How long a client tries to release what it does not need any more.
pub const RELEASE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long it tries to give back what it was perhaps granted, when it is to end.
pub const GIVE_BACK_WAIT_MAX: Duration = Duration::from_secs(2);

/// How long a client that watches a resource lets the server wait for a change.
pub const WATCHED_WAIT: Duration = Duration::from_secs(20);
