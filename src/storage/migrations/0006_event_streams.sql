-- How far the numbering and the pruning of each project's events have come; it must outlive the events themselves, so
-- that numbers are never given twice and the oldest cursor that can be served is known when nothing is left.
CREATE TABLE "event_streams" (
	"project_id" uuid PRIMARY KEY NOT NULL,
	"last_seq" bigint DEFAULT 0 NOT NULL,
	"pruned_seq" bigint DEFAULT 0 NOT NULL
);
--> statement-breakpoint
ALTER TABLE "events" ADD COLUMN "agent_name" text;--> statement-breakpoint
-- Names the history that a cursor belongs to. After a restore, or a failover that lost commits, the same numbers stand for
-- other events: a restored dump has another table, another database or another cluster, a promoted standby or a cluster
-- that was recovered to a point in time another timeline. Below 2^53, since it is read as a number too.
CREATE FUNCTION event_stream_epoch() RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT hashtextextended(concat_ws(' ',
    (SELECT system_identifier FROM pg_control_system()),
    left(pg_walfile_name(pg_current_wal_lsn()), 8),
    (SELECT oid FROM pg_database WHERE datname = current_database()),
    'events'::regclass::oid), 0) & 1099511627775
$$;
--> statement-breakpoint
-- Every event is written twice, when it is appended and when it is numbered, and an entry of the index of unnumbered rows
-- is dead as soon as its row is numbered: vacuum comes early, so that the sequencer does not wade through them.
ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
--> statement-breakpoint
-- An id is drawn under the lock of its subject and never before: ids kept by a session would be out of order.
ALTER SEQUENCE events_id_seq CACHE 1;
