BEGIN IMMEDIATE;

SELECT `server_state`.`fencing_token` FROM `server_state`;

SELECT `resources`.`locked_by`, `resources`.`ttl`, `resources`.`acquired_at_us`, `resources`.`expires_at_us`, `resources`.`released_at_us`, `resources`.`fencing_token` FROM `resources` WHERE (`resources`.`name` = ?);

INSERT INTO resources (name, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE
SET locked_by = excluded.locked_by,
    ttl = excluded.ttl,
    acquired_at_us = excluded.acquired_at_us,
    expires_at_us = excluded.expires_at_us,
    released_at_us = excluded.released_at_us,
    fencing_token = excluded.fencing_token;

UPDATE server_state
   SET fencing_token = ?, clock_us = ?;

COMMIT;
