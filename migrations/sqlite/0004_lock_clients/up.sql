-- Add clients, and an index that finds the locks of each

-- client: who asked for the lock, as far as the locks of each client are counted
-- (CLIENT_LOCKS_MAX): the number of its token, or its address or network. NULL
-- where they are not, and where there is no lock.
ALTER TABLE resources ADD COLUMN client TEXT;

-- With all that is asked of the locks of a client, so that no row is read to count
-- them. A lock that was freed by hand has no acquired_at_us.
CREATE INDEX resources_client
    ON resources (client, expires_at_us, acquired_at_us)
 WHERE client IS NOT NULL;
