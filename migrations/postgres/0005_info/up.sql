-- Add what a holder says of itself

-- For programs of the holder's kind that are refused: of a state that Terraform
-- locked the LockInfo, which has the key.
ALTER TABLE resources
    ADD COLUMN info TEXT CHECK (length(info) BETWEEN 1 AND 8192);
