DROP VIEW held_locks;
DROP TABLE server_state;
DROP TABLE resources;
PRAGMA application_id = 0;
