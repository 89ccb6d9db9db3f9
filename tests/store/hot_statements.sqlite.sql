BEGIN IMMEDIATE;

PRAGMA data_version;

SELECT `server_state`.`fencing_token` FROM `server_state`;

SELECT `resources`.`id`, `resources`.`locked_by`, `resources`.`ttl`, `resources`.`acquired_at_us`, `resources`.`expires_at_us`, `resources`.`released_at_us`, `resources`.`fencing_token` FROM `resources` WHERE (`resources`.`name` = ?);

INSERT INTO resources (name, locked_by, ttl, acquired_at_us, expires_at_us, released_at_us, fencing_token)
VALUES (?, ?, ?, ?, ?, ?, ?);

UPDATE resources
   SET locked_by = ?,
       ttl = ?,
       acquired_at_us = ?,
       expires_at_us = ?,
       released_at_us = ?,
       fencing_token = ?
 WHERE id = ?;

UPDATE server_state
   SET fencing_token = ?, clock_us = ?;

COMMIT;
