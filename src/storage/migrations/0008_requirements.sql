-- What a task requires of its agent. A claim finds the sets of requirements that its agent meets and reads the indexes of
-- pending tasks for these alone, so that a backlog which it must not touch costs it nothing.
CREATE TABLE "task_requirement_sets" (
	"project_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"capabilities" jsonb NOT NULL,
	"labels" jsonb NOT NULL,
	"created_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "task_requirement_sets_project_id_id_pk" PRIMARY KEY("project_id","id")
);
--> statement-breakpoint
DROP INDEX "tasks_pending";--> statement-breakpoint
DROP INDEX "tasks_pending_by_kind";--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "not_before" timestamp (6) with time zone;--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "requirements" jsonb;--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "requirement_set" uuid DEFAULT '00000000-0000-0000-0000-000000000000' NOT NULL;--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "checkpoint" json;--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "checkpoint_bytes" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "tasks" ADD COLUMN "forgiven_epoch" bigint DEFAULT 0 NOT NULL;--> statement-breakpoint
CREATE INDEX "tasks_pending" ON "tasks" USING btree ("project_id","requirement_set","priority","due_at","id") WHERE state = 'pending';--> statement-breakpoint
CREATE INDEX "tasks_pending_by_kind" ON "tasks" USING btree ("project_id","kind","requirement_set","priority","due_at","id") WHERE state = 'pending';