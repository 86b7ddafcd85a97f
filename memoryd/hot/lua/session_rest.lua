-- session_rest: have a session leave Redis soon, unless somebody uses it: then it has its whole life again.
-- KEYS  1 session
-- ARGV  1 the milliseconds that it had left when that was decided  2 the milliseconds that it is left with
-- Returns 1; 0 when it was used since, is gone, or has as little left already.
-- Atomic because a use between the check and the change would be cut short.
if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[1]) then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2], 'LT')
