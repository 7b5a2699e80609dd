-- An agent that is lost again and again is no other agent, and no state of its own: how often it was lost is kept here.
CREATE TABLE "agent_flaps" (
	"project_id" uuid NOT NULL,
	"agent_id" uuid NOT NULL,
	"score" double precision NOT NULL,
	"scored_at" timestamp (6) with time zone NOT NULL,
	"flapping" boolean NOT NULL,
	CONSTRAINT "agent_flaps_project_id_agent_id_pk" PRIMARY KEY("project_id","agent_id")
);
--> statement-breakpoint
CREATE INDEX "agent_flaps_by_age" ON "agent_flaps" USING btree ("scored_at");