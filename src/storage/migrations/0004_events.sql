CREATE TABLE "events" (
	"project_id" uuid NOT NULL,
	"id" bigserial NOT NULL,
	"seq" bigint,
	"type" text NOT NULL,
	"subject" text NOT NULL,
	"agent_id" uuid,
	"task_id" uuid,
	"time" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"data" jsonb DEFAULT '{}'::jsonb NOT NULL,
	CONSTRAINT "events_project_id_id_pk" PRIMARY KEY("project_id","id")
);
--> statement-breakpoint
CREATE UNIQUE INDEX "events_by_seq" ON "events" USING btree ("project_id","seq") WHERE seq IS NOT NULL;--> statement-breakpoint
CREATE INDEX "events_unnumbered" ON "events" USING btree ("id") WHERE seq IS NULL;