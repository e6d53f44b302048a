\set project random_zipfian(1, 1500, 1.05)
\set who random(1, 4000)
\set n random(1, 9000)
\set m random(1, 9000)
BEGIN;
SELECT new_ticket(:project, :who, :n);
SELECT new_ticket(:project, :who + 1, :m);
COMMIT;
