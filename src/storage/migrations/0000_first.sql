CREATE TABLE "agent_sessions" (
	"project_id" uuid NOT NULL,
	"agent_id" uuid NOT NULL,
	"boot_id" text NOT NULL,
	"epoch" bigint NOT NULL,
	"started_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "agent_sessions_project_id_agent_id_boot_id_pk" PRIMARY KEY("project_id","agent_id","boot_id"),
	CONSTRAINT "agent_sessions_by_epoch" UNIQUE("project_id","agent_id","epoch")
);
--> statement-breakpoint
CREATE TABLE "agent_states" (
	"project_id" uuid NOT NULL,
	"agent_id" uuid NOT NULL,
	"status" text DEFAULT 'pending' NOT NULL,
	"liveness" text DEFAULT 'never' NOT NULL,
	"version" bigint DEFAULT 0 NOT NULL,
	"epoch" bigint DEFAULT 0 NOT NULL,
	"sequence" bigint DEFAULT -1 NOT NULL,
	"last_seen_at" timestamp (6) with time zone,
	"status_changed_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "agent_states_project_id_agent_id_pk" PRIMARY KEY("project_id","agent_id")
);
--> statement-breakpoint
CREATE TABLE "agents" (
	"project_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"name" text NOT NULL,
	"labels" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"capabilities" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"device_info" jsonb,
	"gauges" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"created_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"removed_at" timestamp (6) with time zone,
	CONSTRAINT "agents_project_id_id_pk" PRIMARY KEY("project_id","id")
);
--> statement-breakpoint
CREATE TABLE "answered_requests" (
	"project_id" uuid NOT NULL,
	"token_id" uuid NOT NULL,
	"method" text NOT NULL,
	"request_id" text NOT NULL,
	"request_hash" "bytea" NOT NULL,
	"response" "bytea",
	"created_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "answered_requests_project_id_token_id_method_request_id_pk" PRIMARY KEY("project_id","token_id","method","request_id")
);
--> statement-breakpoint
CREATE TABLE "audit_entries" (
	"project_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"time" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"actor" text NOT NULL,
	"action" text NOT NULL,
	"subject" text NOT NULL,
	"field" text DEFAULT '' NOT NULL,
	"from_value" text DEFAULT '' NOT NULL,
	"to_value" text DEFAULT '' NOT NULL,
	"version" bigint,
	"reason" text DEFAULT '' NOT NULL,
	"request_id" text DEFAULT '' NOT NULL,
	CONSTRAINT "audit_entries_project_id_id_pk" PRIMARY KEY("project_id","id"),
	CONSTRAINT "audit_entries_one_per_version" UNIQUE("project_id","subject","version")
);
--> statement-breakpoint
CREATE TABLE "enrollments" (
	"project_id" uuid NOT NULL,
	"token_id" uuid NOT NULL,
	"nonce" text NOT NULL,
	"agent_id" uuid NOT NULL,
	"created_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "enrollments_project_id_token_id_nonce_agent_id_pk" PRIMARY KEY("project_id","token_id","nonce","agent_id")
);
--> statement-breakpoint
CREATE TABLE "error_reports" (
	"project_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"agent_id" uuid NOT NULL,
	"severity" smallint NOT NULL,
	"message" text NOT NULL,
	"context" jsonb,
	"task_id" uuid,
	"fingerprint" text NOT NULL,
	"occurrences" bigint DEFAULT 1 NOT NULL,
	"created_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"last_seen_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "error_reports_project_id_id_pk" PRIMARY KEY("project_id","id")
);
--> statement-breakpoint
CREATE TABLE "heartbeat_effects" (
	"project_id" uuid NOT NULL,
	"agent_id" uuid NOT NULL,
	"epoch" bigint NOT NULL,
	"sequence" bigint NOT NULL,
	"effect" jsonb NOT NULL,
	"recorded_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "heartbeat_effects_project_id_agent_id_epoch_sequence_pk" PRIMARY KEY("project_id","agent_id","epoch","sequence")
);
--> statement-breakpoint
CREATE TABLE "projects" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"created_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "projects_name_unique" UNIQUE("name")
);
--> statement-breakpoint
CREATE TABLE "tokens" (
	"id" uuid PRIMARY KEY NOT NULL,
	"project_id" uuid NOT NULL,
	"role" text NOT NULL,
	"server" boolean DEFAULT false NOT NULL,
	"secret_hash" "bytea" NOT NULL,
	"labels" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"agent_id" uuid,
	"max_uses" integer DEFAULT 0 NOT NULL,
	"uses" integer DEFAULT 0 NOT NULL,
	"created_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"minted_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"expires_at" timestamp (6) with time zone,
	"revoked_at" timestamp (6) with time zone,
	"activated_at" timestamp (6) with time zone,
	"retired_at" timestamp (6) with time zone,
	"last_used_at" timestamp (6) with time zone,
	CONSTRAINT "tokens_uses_within" CHECK (role <> 'enrollment' OR uses <= max_uses)
);
--> statement-breakpoint
CREATE UNIQUE INDEX "agents_by_name" ON "agents" USING btree ("project_id","name") WHERE removed_at IS NULL;--> statement-breakpoint
CREATE INDEX "agents_by_age" ON "agents" USING btree ("project_id","created_at","id");--> statement-breakpoint
CREATE INDEX "answered_requests_by_age" ON "answered_requests" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "audit_entries_by_time" ON "audit_entries" USING btree ("project_id","time","id");--> statement-breakpoint
CREATE INDEX "audit_entries_by_subject" ON "audit_entries" USING btree ("project_id","subject","time","id");--> statement-breakpoint
CREATE INDEX "error_reports_by_age" ON "error_reports" USING btree ("project_id","created_at","id");--> statement-breakpoint
CREATE INDEX "error_reports_by_agent" ON "error_reports" USING btree ("project_id","agent_id","created_at","id");--> statement-breakpoint
CREATE INDEX "error_reports_by_fingerprint" ON "error_reports" USING btree ("project_id","fingerprint","created_at");--> statement-breakpoint
CREATE INDEX "error_reports_flood" ON "error_reports" USING btree ("project_id","agent_id","fingerprint","created_at");--> statement-breakpoint
CREATE INDEX "heartbeat_effects_by_age" ON "heartbeat_effects" USING btree ("recorded_at");--> statement-breakpoint
CREATE INDEX "tokens_by_project" ON "tokens" USING btree ("project_id","created_at","id");--> statement-breakpoint
CREATE INDEX "tokens_by_agent" ON "tokens" USING btree ("project_id","agent_id");--> statement-breakpoint
CREATE UNIQUE INDEX "tokens_one_renewal" ON "tokens" USING btree ("project_id","agent_id") WHERE agent_id IS NOT NULL AND activated_at IS NULL AND revoked_at IS NULL AND retired_at IS NULL;