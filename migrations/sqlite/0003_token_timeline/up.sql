-- Nothing: only PostgreSQL can lose tokens that it gave

-- The number is taken so that both kinds of database have the same migrations.
-- An SQLite file is not replicated: its counter is in the transaction of the
-- grant, and both are on disk before the answer.
