-- Whether an agent listens is seen by the server that holds its stream, and asked of any server: so it stands here.
CREATE TABLE "agent_streams" (
	"project_id" uuid NOT NULL,
	"agent_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"server_id" uuid NOT NULL,
	"epoch" bigint NOT NULL,
	"opened_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"ended_at" timestamp (6) with time zone,
	CONSTRAINT "agent_streams_project_id_agent_id_id_pk" PRIMARY KEY("project_id","agent_id","id")
);
--> statement-breakpoint
CREATE TABLE "stream_servers" (
	"server_id" uuid PRIMARY KEY NOT NULL,
	"kept_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL
);
