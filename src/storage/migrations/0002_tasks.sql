CREATE TABLE "agent_commands" (
	"project_id" uuid NOT NULL,
	"agent_id" uuid NOT NULL,
	"sequence" bigint NOT NULL,
	"kind" text NOT NULL,
	"task_id" uuid,
	"reason" text DEFAULT '' NOT NULL,
	"created_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"acknowledged_at" timestamp (6) with time zone,
	CONSTRAINT "agent_commands_project_id_agent_id_sequence_pk" PRIMARY KEY("project_id","agent_id","sequence")
);
--> statement-breakpoint
CREATE TABLE "task_attempts" (
	"project_id" uuid NOT NULL,
	"task_id" uuid NOT NULL,
	"lease_epoch" bigint NOT NULL,
	"number" integer NOT NULL,
	"agent_id" uuid NOT NULL,
	"began_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"ended_at" timestamp (6) with time zone,
	"outcome" text,
	"error_message" text,
	"error_context" jsonb,
	CONSTRAINT "task_attempts_project_id_task_id_lease_epoch_pk" PRIMARY KEY("project_id","task_id","lease_epoch"),
	CONSTRAINT "task_attempts_end_whole" CHECK ((ended_at IS NULL) = (outcome IS NULL))
);
--> statement-breakpoint
CREATE TABLE "task_stale_results" (
	"project_id" uuid NOT NULL,
	"task_id" uuid NOT NULL,
	"agent_id" uuid NOT NULL,
	"lease_epoch" bigint NOT NULL,
	"kind" text NOT NULL,
	"result" json,
	"error_message" text,
	"error_context" jsonb,
	"bytes" integer NOT NULL,
	"created_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "task_stale_results_project_id_task_id_agent_id_lease_epoch_kind_pk" PRIMARY KEY("project_id","task_id","agent_id","lease_epoch","kind")
);
--> statement-breakpoint
CREATE TABLE "tasks" (
	"project_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"kind" text NOT NULL,
	"state" text DEFAULT 'pending' NOT NULL,
	"priority" smallint NOT NULL,
	"payload" json,
	"payload_bytes" integer DEFAULT 0 NOT NULL,
	"result" json,
	"result_bytes" integer DEFAULT 0 NOT NULL,
	"labels" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"max_retries" integer NOT NULL,
	"retries" integer DEFAULT 0 NOT NULL,
	"losses" integer DEFAULT 0 NOT NULL,
	"timeout_ms" bigint,
	"attempt" integer DEFAULT 0 NOT NULL,
	"lease_epoch" bigint DEFAULT 0 NOT NULL,
	"agent_id" uuid,
	"leased_at" timestamp (6) with time zone,
	"lease_expires_at" timestamp (6) with time zone,
	"started_at" timestamp (6) with time zone,
	"finished_at" timestamp (6) with time zone,
	"progress" double precision DEFAULT 0 NOT NULL,
	"detail" text DEFAULT '' NOT NULL,
	"error_message" text,
	"error_context" jsonb,
	"error_bytes" integer DEFAULT 0 NOT NULL,
	"due_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"created_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "tasks_project_id_id_pk" PRIMARY KEY("project_id","id"),
	CONSTRAINT "tasks_lent_to_someone" CHECK (state NOT IN ('leased', 'running') OR (agent_id IS NOT NULL AND lease_expires_at IS NOT NULL AND leased_at IS NOT NULL)),
	CONSTRAINT "tasks_retries_within" CHECK (retries BETWEEN 0 AND max_retries)
);
--> statement-breakpoint
ALTER TABLE "agent_states" ADD COLUMN "current_task_id" uuid;--> statement-breakpoint
ALTER TABLE "agent_states" ADD COLUMN "current_lease_epoch" bigint;--> statement-breakpoint
ALTER TABLE "agent_states" ADD COLUMN "command_sequence" bigint DEFAULT 0 NOT NULL;--> statement-breakpoint
CREATE INDEX "agent_commands_waiting" ON "agent_commands" USING btree ("project_id","agent_id","sequence") WHERE acknowledged_at IS NULL;--> statement-breakpoint
CREATE INDEX "agent_commands_by_age" ON "agent_commands" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "tasks_by_age" ON "tasks" USING btree ("project_id","created_at","id");--> statement-breakpoint
CREATE INDEX "tasks_by_agent" ON "tasks" USING btree ("project_id","agent_id","created_at","id") WHERE agent_id IS NOT NULL;--> statement-breakpoint
CREATE INDEX "tasks_pending" ON "tasks" USING btree ("project_id","priority","due_at","id") WHERE state = 'pending';--> statement-breakpoint
CREATE INDEX "tasks_pending_by_kind" ON "tasks" USING btree ("project_id","kind","priority","due_at","id") WHERE state = 'pending';--> statement-breakpoint
CREATE INDEX "tasks_lent" ON "tasks" USING btree ("project_id","agent_id") WHERE state IN ('leased', 'running');--> statement-breakpoint
CREATE INDEX "tasks_unsuccessful" ON "tasks" USING btree ("project_id","state","created_at","id") WHERE state IN ('failed', 'cancelled', 'quarantined');--> statement-breakpoint
-- A lent task is renewed by every heartbeat of its agent. No index covers what a renewal changes; room on the page and
-- payloads kept out of the row let it stay there (HOT). Claims and ends leave dead entries in small partial indexes,
-- which want to be vacuumed long before a fifth of a table of finished tasks has changed.
ALTER TABLE tasks SET (fillfactor = 80, toast_tuple_target = 512, autovacuum_vacuum_scale_factor = 0.02);
