DROP INDEX resources_client;

ALTER TABLE resources DROP COLUMN client;
