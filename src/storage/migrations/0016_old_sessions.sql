-- Runs that were taken over from long ago are forgotten, the oldest first: a process that restarts every minute made half a
-- million of them a year.
CREATE INDEX "agent_sessions_by_age" ON "agent_sessions" USING btree ("started_at");
