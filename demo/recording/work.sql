\set a random(1, 11000)
\set b random(1, 11000)
\set who random(1, 4000)
\set n random(1, 9000)
\set project random_zipfian(1, 1500, 1.05)
BEGIN;
UPDATE tickets SET assignee = person(:who) WHERE id = ticket(:a);
UPDATE tickets SET project = :project, account = account(:n), owner = owner(:n) WHERE id = ticket(:b);
UPDATE tickets SET done = NOT done, price = price + 1 WHERE id = ticket(:a);
COMMIT;
