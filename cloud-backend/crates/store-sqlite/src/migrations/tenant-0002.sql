-- What a transition says beyond the two states of the first release. Without flags they are what the state says.
-- An empty tag, value_type or limit_value says that there is none.
ALTER TABLE journal ADD COLUMN flags INTEGER;
ALTER TABLE journal ADD COLUMN shelved_until INTEGER;
ALTER TABLE journal ADD COLUMN review_at INTEGER;
ALTER TABLE journal ADD COLUMN deadband TEXT NOT NULL DEFAULT '0';
ALTER TABLE journal ADD COLUMN first_out INTEGER NOT NULL DEFAULT 0;
-- Who did it, where a person did.
ALTER TABLE journal ADD COLUMN command TEXT;
ALTER TABLE journal ADD COLUMN actor TEXT;
ALTER TABLE journal ADD COLUMN comment TEXT;
