-- An audit log that can be edited proves nothing: rows are only added. The pruner alone deletes, and says so in a
-- setting that lives as long as its transaction.
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND current_setting('drover.pruning', true) = 'audit' THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'audit entries are append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
--> statement-breakpoint
CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE ON audit_entries
  FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
--> statement-breakpoint
CREATE TRIGGER audit_entries_no_truncate BEFORE TRUNCATE ON audit_entries
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
--> statement-breakpoint
-- Every heartbeat writes its agent's row. Nothing that changes is indexed, and half of each page stays free, so that
-- the new version of a row finds room on the page of the old one (HOT): no index is touched, and the space is
-- reclaimed by the next reader instead of a vacuum.
ALTER TABLE agent_states SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
