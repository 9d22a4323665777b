-- Renewal: successors that a certificate's own key asked for, and grace for devices that come too late.
--
-- `renews` is the id of the certificate whose key asked; NULL where somebody with a token did. Whose turn it is
-- needs no table: a thing has one open intent (intents.thing is UNIQUE) and one certificate in each slot
-- (attachments' primary key), and a key belongs to one thing.

ALTER TABLE certificates ADD COLUMN renews TEXT;
ALTER TABLE intents ADD COLUMN renews TEXT;
ALTER TABLE things ADD COLUMN grace_until INTEGER;

-- Successors are few: the sweeper reads them by this index.
CREATE INDEX successors ON attachments (slot, certificate) WHERE slot = 'successor';
