-- What agents were told of their next heartbeat, for those who judge silence: per server and not per agent, so that a
-- heartbeat writes no more for it and its row keeps to its page (HOT, see 0001).
CREATE TABLE "dictated_intervals" (
	"server_id" uuid NOT NULL,
	"interval_ms" integer NOT NULL,
	"counts_until" timestamp (6) with time zone NOT NULL,
	CONSTRAINT "dictated_intervals_server_id_interval_ms_pk" PRIMARY KEY("server_id","interval_ms")
);
