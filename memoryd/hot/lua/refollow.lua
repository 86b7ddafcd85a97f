-- refollow: tell an event of a session what it follows now, and let it wait for a vector made in that context.
-- KEYS  1 record  2 journal  3 timeline
-- ARGV  1 id  2 what it follows says something else now ('1'|'0')  3 traceparent
-- Returns the journal entry's id, or false when the event is gone or follows what it followed before.
-- A vector is made in the context of what the event follows, and keeps a trace of it. `context` counts these changes, so
-- that a vector made in an earlier one, which comes late, is known and refused: here and in the archive.
-- Atomic because the vector must not go without the journal entry that brings the new one.
local record = read_record(KEYS[1])
if not record.id then return false end
local now = follows(KEYS[3], ARGV[1])
if now == (record.follows or '') and (ARGV[2] == '0' or now == '') then return false end
record.follows = now
return wait_anew(KEYS[1], KEYS[2], ARGV[3], record)
