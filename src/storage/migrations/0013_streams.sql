-- A run that opens another stream ends the one before it, also on another server: the newest has the highest number.
ALTER TABLE "agent_states" ADD COLUMN "stream" bigint DEFAULT 0 NOT NULL;