-- Add by which request somebody waits, and places that are vacant

-- request: the request of whoever waits, as acquire_request has it; NULL if it
-- had no Idempotency-Key. Sent again to another replica it goes on from its place.
-- vacant_until_us: until when the place is kept for it whose replica has
-- stopped; replica is 0 then.
ALTER TABLE waiters
    ADD COLUMN request TEXT,
    ADD COLUMN vacant_until_us BIGINT;

CREATE INDEX waiters_request
    ON waiters (name, request)
 WHERE request IS NOT NULL;
