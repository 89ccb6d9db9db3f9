ALTER TABLE resources DROP COLUMN info;
