-- Create table token_timeline and function wal_timeline

-- Which cluster this is, and which of its histories: the number changes when a
-- standby is promoted, or a backup is restored up to a moment.
CREATE FUNCTION wal_timeline() RETURNS TEXT
LANGUAGE sql VOLATILE
RETURN (SELECT system_identifier FROM pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8);

-- One row: the history in which fencing_tokens is known to be beyond every
-- token that was granted. A new history may lack the end of the one before, and
-- steps of the sequence with it; so who serves first in one sets the sequence
-- far ahead, and then notes the history here.
CREATE TABLE token_timeline (
    timeline TEXT NOT NULL
);

INSERT INTO token_timeline (timeline)
VALUES (wal_timeline());
