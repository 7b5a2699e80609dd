-- Which attempts their agents went down in, and which tasks an agent has failed since its newest success: a task that takes
-- down several agents is quarantined.
CREATE TABLE "agent_failures" (
	"project_id" uuid NOT NULL,
	"agent_id" uuid NOT NULL,
	"task_id" uuid NOT NULL,
	"failed_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "agent_failures_project_id_agent_id_task_id_pk" PRIMARY KEY("project_id","agent_id","task_id")
);
--> statement-breakpoint
ALTER TABLE "task_attempts" ADD COLUMN "took_down" boolean DEFAULT false NOT NULL;