CREATE TABLE "liveness_watch" (
	"only_row" boolean PRIMARY KEY DEFAULT true NOT NULL,
	"kept_at" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	"since" timestamp (6) with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "liveness_watch_one_row" CHECK (only_row)
);
