-- How a mass loss brakes is kept here, so that any server goes on with it; and when an agent was lost, by which those
-- that vanished together are told from those that left.
CREATE TABLE "liveness_brakes" (
	"project_id" uuid PRIMARY KEY NOT NULL,
	"kind" text NOT NULL,
	"engaged_at" timestamp (6) with time zone NOT NULL,
	"earned_from" timestamp (6) with time zone NOT NULL
);
--> statement-breakpoint
ALTER TABLE "agent_states" ADD COLUMN "lost_at" timestamp (6) with time zone;