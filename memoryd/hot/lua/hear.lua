-- hear: tell an event of a session that others come after it now than those its vector has read.
-- KEYS  1 record  2 journal  3 timeline
-- ARGV  1 id  2 how many after it a vector reads  3 one of them is gone, or says something else ('1'|'0')  4 traceparent
--       5 whoever asks is about to make the vector that it waits for, if it does ('1'|'0')
-- Returns 'more' when it lacks one that has come: its vector is as good as it was until there is the new one (`attach`). The
-- journal entry's id when it has read what it must not keep, or waits for a vector already: it waits for another one. Else false.
-- When one is gone, that is also said to who has read none of them: the vector that is being made for it may have.
-- Atomic because the vector must not go without the journal entry that brings the new one.
local record = read_record(KEYS[1])
if not record.id then return false end
local count, had = tonumber(ARGV[2]), record.followed_by or ''
local now = followed_by(KEYS[3], ARGV[1], count)
if ARGV[3] == '1' then
  if count == 0 and had == '' then return false end
else
  if now == had or (record.pending == '1' and ARGV[5] == '1') then return false end
  if record.content and record.pending ~= '1' and all_in(had, now) then return 'more' end
end
return wait_anew(KEYS[1], KEYS[2], ARGV[4], record)
