\set a random(1, 11000)
BEGIN;
DELETE FROM tickets WHERE id BETWEEN :a AND :a + 20;
ROLLBACK;
