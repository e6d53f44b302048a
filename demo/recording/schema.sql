-- The recorded table: a small ticket tracker, with one column for every way test_decoding prints.
SET client_min_messages = warning;

CREATE TABLE tickets (
  id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project  integer NOT NULL,
  account  bigint,
  assignee text,
  owner    uuid NOT NULL,
  done     boolean NOT NULL DEFAULT false,
  price    numeric(10, 2),
  score    double precision,
  created  timestamp without time zone NOT NULL DEFAULT date_trunc('second', now()),
  due      date,
  tags     character varying(20)[],
  "Notes"  text
);

-- Deletes and updates show the whole old row, so that the shapes it leaves can be found.
ALTER TABLE tickets REPLICA IDENTITY FULL;

-- Long notes go out of line uncompressed: an update that leaves them alone then prints
-- unchanged-toast-datum, which a reader must know how to handle.
ALTER TABLE tickets ALTER "Notes" SET STORAGE EXTERNAL;

-- Mostly plain addresses; one in nine is text that a careless reader stumbles over.
CREATE FUNCTION person(n integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN n % 50 = 0 THEN NULL
    WHEN n % 9 = 0 THEN (ARRAY[
      'Miles O''Brien', 'Zoë Ångström', '東京 太郎', 'crab 🦀', 'null', '', ' ',
      'say "hi"', 'C:\new\table', E'two\nlines', E'tab\there', '''''',
      'x[text]:''1'' new-tuple: y[text]:null', 'COMMIT 1', E'end''\nCOMMIT 7'
    ])[1 + n / 9 % 15]
    ELSE 'user-' || n || '@example.com'
  END
$$;

-- Beyond 32 bits, some below zero, some missing.
CREATE FUNCTION account(n integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN n % 40 = 0 THEN NULL
    WHEN n % 7 = 0 THEN -n::bigint
    ELSE 4000000000 + n::bigint * 37
  END
$$;

CREATE FUNCTION owner(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT md5('owner ' || n)::uuid
$$;

CREATE FUNCTION notes(n integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN n % 40 = 0 THEN repeat('It''s a long story. ', 140)
    WHEN n % 3 = 0 THEN 'note ' || n
  END
$$;

CREATE FUNCTION new_ticket(project integer, who integer, n integer) RETURNS void LANGUAGE sql AS $$
  INSERT INTO tickets (project, account, assignee, owner, price, score, due, tags, "Notes")
  VALUES (
    project, account(n), person(who), owner(n),
    CASE WHEN n % 4 > 0 THEN (n % 100000) / 100.0 END,
    CASE n % 16 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' WHEN 2 THEN 1e-7 WHEN 3 THEN n / 8.0 END,
    CASE WHEN n % 3 = 0 THEN date '2026-01-01' + n % 365 END,
    CASE n % 6 WHEN 0 THEN ARRAY['bug', 'it''s "urgent"', NULL] WHEN 1 THEN '{}' END,
    notes(n)
  )
$$;

-- The first living ticket at or after a number: a random id always finds one.
CREATE FUNCTION ticket(n bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT id FROM tickets WHERE id >= n ORDER BY id LIMIT 1
$$;
