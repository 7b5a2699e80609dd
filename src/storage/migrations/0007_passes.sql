-- Heartbeat passes: their records, the trackers that they fetch from, and the issues that came. The index on tasks
-- finds what is still to be done of an issue, by the label with its address.
CREATE TABLE "issues" (
	"project_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"tracker_id" uuid NOT NULL,
	"number" bigint NOT NULL,
	"url" text NOT NULL,
	"title" text NOT NULL,
	"author" text NOT NULL,
	"labels" jsonb NOT NULL,
	"state" text NOT NULL,
	"upstream_state" text NOT NULL,
	"rule_task_id" uuid,
	"created_at" timestamp (6) with time zone NOT NULL,
	"updated_at" timestamp (6) with time zone NOT NULL,
	"closed_at" timestamp (6) with time zone,
	"confirmed_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "issues_project_id_id_pk" PRIMARY KEY("project_id","id"),
	CONSTRAINT "issues_by_number" UNIQUE("project_id","tracker_id","number")
);
--> statement-breakpoint
CREATE TABLE "runs" (
	"project_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"agent_name" text NOT NULL,
	"actor" text NOT NULL,
	"status" text DEFAULT 'running' NOT NULL,
	"started_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"finished_at" timestamp (6) with time zone,
	"summary" text DEFAULT '' NOT NULL,
	"warnings" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"errors" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"touched_issue_urls" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"steps" jsonb DEFAULT '[]'::jsonb NOT NULL,
	CONSTRAINT "runs_project_id_id_pk" PRIMARY KEY("project_id","id"),
	CONSTRAINT "runs_end_whole" CHECK ((status = 'running') = (finished_at IS NULL))
);
--> statement-breakpoint
CREATE TABLE "trackers" (
	"project_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"kind" text NOT NULL,
	"repository" text NOT NULL,
	"base_url" text NOT NULL,
	"credential" text DEFAULT '' NOT NULL,
	"disabled" boolean DEFAULT false NOT NULL,
	"rule_label" text,
	"rule_task_kind" text,
	"rule_priority" smallint,
	"cursor" timestamp (6) with time zone,
	"etag" text DEFAULT '' NOT NULL,
	"sync_run" uuid,
	"sync_state" text DEFAULT 'never' NOT NULL,
	"sync_detail" text DEFAULT '' NOT NULL,
	"sync_ended_at" timestamp (6) with time zone,
	"synced_at" timestamp (6) with time zone,
	"rate_limited_until" timestamp (6) with time zone,
	"created_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "trackers_project_id_id_pk" PRIMARY KEY("project_id","id"),
	CONSTRAINT "trackers_rule_whole" CHECK ((rule_label IS NULL) = (rule_task_kind IS NULL) AND (rule_label IS NULL) = (rule_priority IS NULL))
);
--> statement-breakpoint
CREATE INDEX "issues_by_change" ON "issues" USING btree ("project_id","updated_at","id");--> statement-breakpoint
CREATE INDEX "issues_out_of_line" ON "issues" USING btree ("project_id","id") WHERE state <> upstream_state;--> statement-breakpoint
CREATE INDEX "issues_open" ON "issues" USING btree ("project_id","tracker_id","id") WHERE upstream_state = 'open';--> statement-breakpoint
CREATE INDEX "issues_with_task" ON "issues" USING btree ("project_id","id") WHERE rule_task_id IS NOT NULL;--> statement-breakpoint
CREATE INDEX "issues_by_url" ON "issues" USING btree ("project_id","url");--> statement-breakpoint
CREATE INDEX "runs_by_age" ON "runs" USING btree ("project_id","started_at","id");--> statement-breakpoint
CREATE INDEX "runs_by_agent" ON "runs" USING btree ("project_id","agent_name","started_at","id");--> statement-breakpoint
CREATE INDEX "runs_running" ON "runs" USING btree ("id") WHERE status = 'running';--> statement-breakpoint
CREATE INDEX "runs_to_forget" ON "runs" USING btree ("started_at");--> statement-breakpoint
CREATE UNIQUE INDEX "trackers_one_per_repository" ON "trackers" USING btree ("project_id","kind","base_url",lower(repository));--> statement-breakpoint
CREATE INDEX "trackers_by_age" ON "trackers" USING btree ("project_id","created_at","id");--> statement-breakpoint
CREATE INDEX "tasks_of_issues" ON "tasks" USING btree ("project_id",(labels ->> 'issue')) WHERE labels ->> 'issue' IS NOT NULL AND state IN ('pending', 'leased', 'running');