-- When a device or an address is seen again after the key that hashes it was replaced, its entries are kept under the new hash.
GRANT UPDATE (subject) ON list_entries TO ml_runtime;
