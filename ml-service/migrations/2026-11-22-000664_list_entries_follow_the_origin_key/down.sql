REVOKE UPDATE (subject) ON list_entries FROM ml_runtime;
