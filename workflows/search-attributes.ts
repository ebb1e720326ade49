import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';

/** The search attributes of the contract; a worker checks at its start that the namespace has them. */
export const searchAttributes = {
  estate: defineSearchAttributeKey('Estate', SearchAttributeType.KEYWORD),
  serviceName: defineSearchAttributeKey('ServiceName', SearchAttributeType.KEYWORD),
  serviceType: defineSearchAttributeKey('ServiceType', SearchAttributeType.KEYWORD),
  cloudProvider: defineSearchAttributeKey('CloudProvider', SearchAttributeType.KEYWORD_LIST),
  serviceStatus: defineSearchAttributeKey('ServiceStatus', SearchAttributeType.KEYWORD),
  monthlyCostUsd: defineSearchAttributeKey('MonthlyCostUsd', SearchAttributeType.DOUBLE),
  waitingForPerson: defineSearchAttributeKey('WaitingForPerson', SearchAttributeType.BOOL),
  replicationLagSeconds: defineSearchAttributeKey('ReplicationLagSeconds', SearchAttributeType.DOUBLE),
} as const;
