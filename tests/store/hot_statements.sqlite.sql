BEGIN IMMEDIATE;

PRAGMA data_version;

SELECT `server_state`.`fencing_token` FROM `server_state`;

SELECT max(`lock_events`.`id`) FROM `lock_events`;

SELECT `resources`.`id`, `resources`.`locked_by`, `resources`.`ttl`, `resources`.`acquired_at_us`, `resources`.`expires_at_us`, `resources`.`released_at_us`, `resources`.`fencing_token`, `resources`.`label`, `resources`.`acquire_request`, `resources`.`release_request`, `resources`.`told_again`, `resources`.`owner`, `resources`.`broken`, `resources`.`client`, `resources`.`info`, `resources`.`renewals`, `resources`.`last_event_id` FROM `resources` WHERE (`resources`.`name` = ?);

SELECT COUNT(*) FROM `resources` WHERE (((`resources`.`client` = ?) AND (`resources`.`acquired_at_us` IS NOT NULL)) AND ((`resources`.`expires_at_us` IS NULL) OR (`resources`.`expires_at_us` > ?)));

INSERT INTO resources (name, fencing_token, locked_by, label, owner, client, info, acquire_request, release_request, broken, ttl, acquired_at_us, expires_at_us, released_at_us, told_again, renewals, last_event_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

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
       told_again = ?,
       renewals = ?,
       last_event_id = ?
 WHERE id = ?;

UPDATE resources
   SET fencing_token = ?,
       locked_by = ?,
       ttl = ?,
       acquired_at_us = ?,
       expires_at_us = ?,
       released_at_us = ?,
       last_event_id = ?
 WHERE id = ?;

UPDATE resources
   SET ttl = ?,
       expires_at_us = ?,
       renewals = ?
 WHERE id = ?;

INSERT INTO lock_events (id, at_us, fencing_token, event, resource, previous_id, ttl, expires_at_us, address)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

INSERT INTO lock_events (id, at_us, fencing_token, event, resource, previous_id, ttl, expires_at_us, address)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?),
       (?, ?, ?, ?, ?, ?, ?, ?, ?),
       (?, ?, ?, ?, ?, ?, ?, ?, ?),
       (?, ?, ?, ?, ?, ?, ?, ?, ?),
       (?, ?, ?, ?, ?, ?, ?, ?, ?),
       (?, ?, ?, ?, ?, ?, ?, ?, ?),
       (?, ?, ?, ?, ?, ?, ?, ?, ?),
       (?, ?, ?, ?, ?, ?, ?, ?, ?);

INSERT INTO lock_events (id, at_us, fencing_token, event, resource, previous_id, ttl, expires_at_us, owner, label, asked_by, reason, address)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

INSERT INTO lock_events (id, at_us, fencing_token, event, resource, previous_id, ttl, expires_at_us, owner, label, asked_by, reason, address)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?),
       (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?),
       (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?),
       (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?),
       (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?),
       (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?),
       (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?),
       (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

UPDATE server_state
   SET fencing_token = ?, clock_us = ?;

COMMIT;
