-- Agents that operators take out of work: at once, or when they have finished what they hold. The sweep looks for drains
-- to end about once a second, so these have an index; no heartbeat changes what it looks at, so updates stay HOT.
ALTER TABLE "agent_commands" ADD COLUMN "deadline_at" timestamp (6) with time zone;--> statement-breakpoint
ALTER TABLE "agent_states" ADD COLUMN "cordon" text DEFAULT 'none' NOT NULL;--> statement-breakpoint
ALTER TABLE "agent_states" ADD COLUMN "cordon_reason" text DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE "agent_states" ADD COLUMN "drain_deadline_at" timestamp (6) with time zone;--> statement-breakpoint
CREATE INDEX "agent_states_draining" ON "agent_states" USING btree ("project_id","agent_id") WHERE cordon = 'draining';