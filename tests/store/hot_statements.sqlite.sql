BEGIN IMMEDIATE;

PRAGMA data_version;

SELECT `server_state`.`fencing_token` FROM `server_state`;

SELECT `resources`.`id`, `resources`.`locked_by`, `resources`.`ttl`, `resources`.`acquired_at_us`, `resources`.`expires_at_us`, `resources`.`released_at_us`, `resources`.`fencing_token`, `resources`.`label`, `resources`.`acquire_request`, `resources`.`release_request`, `resources`.`told_again`, `resources`.`owner`, `resources`.`broken`, `resources`.`client`, `resources`.`info` FROM `resources` WHERE (`resources`.`name` = ?);

SELECT COUNT(*) FROM `resources` WHERE (((`resources`.`client` = ?) AND (`resources`.`acquired_at_us` IS NOT NULL)) AND ((`resources`.`expires_at_us` IS NULL) OR (`resources`.`expires_at_us` > ?)));

INSERT INTO resources (name, fencing_token, locked_by, label, owner, client, info, acquire_request, release_request, broken, ttl, acquired_at_us, expires_at_us, released_at_us, told_again)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

UPDATE resources
   SET fencing_token = ?,
       locked_by = ?,
       label = ?,
       owner = ?,
       client = ?,
       info = ?,
       acquire_request = ?,
       release_request = ?,
       broken = ?,
       ttl = ?,
       acquired_at_us = ?,
       expires_at_us = ?,
       released_at_us = ?,
       told_again = ?
 WHERE id = ?;

UPDATE resources
   SET ttl = ?,
       expires_at_us = ?
 WHERE id = ?;

UPDATE server_state
   SET fencing_token = ?, clock_us = ?;

COMMIT;
