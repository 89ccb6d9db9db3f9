-- Add by which request somebody waits, and places that are vacant

-- On PostgreSQL. Here one server has all who wait, and no table of them.
SELECT NULL;
