CREATE OR REPLACE FUNCTION erase_person(person uuid) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    UPDATE scores SET device = NULL, address = NULL
        WHERE transfer_id IN (SELECT transfer_id FROM transfers WHERE debit_holder_id = person);
    UPDATE transfers SET debit_holder_id = NULL, device = NULL, address = NULL, description = NULL
        WHERE debit_holder_id = person;
    UPDATE transfers SET credit_holder_id = NULL, description = NULL WHERE credit_holder_id = person;
    UPDATE case_history SET text = '[erased]', reference = NULL
        WHERE case_id IN (SELECT id FROM cases WHERE subject = person) AND action IN ('note', 'evidence', 'escalated', 'deciding');
    UPDATE alerts SET holder_id = NULL, reason = CASE WHEN reason IS NOT NULL THEN '[erased]' END WHERE holder_id = person;
    UPDATE cases SET subject = id, subject_kind = 'erased' WHERE subject = person;
    DELETE FROM list_entries WHERE subject = person;
$$;
