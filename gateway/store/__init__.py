"""The stores: all SQL and every transaction. Rows never leave."""
