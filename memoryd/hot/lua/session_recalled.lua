-- session_recalled: note which memories a session has recalled; a checkpoint keeps it.
-- KEYS  1 session
-- ARGV  1 most that are noted  2.. pairs of id and version as JSON texts
-- Returns 1, or 0 without a session.
-- Atomic because two notes at once must not lose each other.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for i = 2, #ARGV do redis.call('JSON.ARRAPPEND', KEYS[1], '$.head.recalled', ARGV[i]) end
redis.call('JSON.ARRTRIM', KEYS[1], '$.head.recalled', -tonumber(ARGV[1]), -1)
return 1
