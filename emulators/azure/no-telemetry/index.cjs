// Azurite only touches this when its telemetry is on, and the local mode hosts it without.
module.exports = {};
