/** Clients of Compute Engine. The SDK is large, so it is loaded when the first of them is needed. */
import type {
  AddressesClient,
  FirewallsClient,
  ForwardingRulesClient,
  GlobalOperationsClient,
  NetworksClient,
  ProjectsClient,
  protos,
  RegionAutoscalersClient,
  RegionBackendServicesClient,
  RegionHealthChecksClient,
  RegionInstanceGroupManagersClient,
  RegionInstanceTemplatesClient,
  RegionOperationsClient,
  RegionsClient,
  RoutersClient,
  SubnetworksClient,
} from '@google-cloud/compute';

/** The messages of the API under their own names. */
export type INetwork = protos.google.cloud.compute.v1.INetwork;
export type ISubnetwork = protos.google.cloud.compute.v1.ISubnetwork;
export type IFirewall = protos.google.cloud.compute.v1.IFirewall;
export type IRouter = protos.google.cloud.compute.v1.IRouter;
export type IAddress = protos.google.cloud.compute.v1.IAddress;
export type IForwardingRule = protos.google.cloud.compute.v1.IForwardingRule;
export type IInstanceTemplate = protos.google.cloud.compute.v1.IInstanceTemplate;
export type IInstanceGroupManager = protos.google.cloud.compute.v1.IInstanceGroupManager;
export type IAutoscaler = protos.google.cloud.compute.v1.IAutoscaler;
export type IHealthCheck = protos.google.cloud.compute.v1.IHealthCheck;
export type IBackendService = protos.google.cloud.compute.v1.IBackendService;
export type IOperation = protos.google.cloud.compute.v1.IOperation;

export interface ComputeClients {
  networks: NetworksClient;
  subnetworks: SubnetworksClient;
  firewalls: FirewallsClient;
  routers: RoutersClient;
  addresses: AddressesClient;
  forwardingRules: ForwardingRulesClient;
  templates: RegionInstanceTemplatesClient;
  groups: RegionInstanceGroupManagersClient;
  autoscalers: RegionAutoscalersClient;
  healthChecks: RegionHealthChecksClient;
  backendServices: RegionBackendServicesClient;
  globalOperations: GlobalOperationsClient;
  regionOperations: RegionOperationsClient;
  /** They tell quotas. */
  projects: ProjectsClient;
  regions: RegionsClient;
}

/** Whose project is worked in, with which credentials: `keyFilename` left out means the SDK's default chain. */
export interface ComputeAccess {
  project: string;
  keyFilename?: string | undefined;
}

export function computeClients({ project, keyFilename }: ComputeAccess): () => Promise<ComputeClients> {
  let made: Promise<ComputeClients> | undefined;
  const make = async (): Promise<ComputeClients> => {
    const { default: sdk } = await import('@google-cloud/compute');
    const globalOperations = new sdk.GlobalOperationsClient({
      projectId: project,
      ...(keyFilename === undefined ? {} : { keyFilename }),
    });
    // One authorisation for all of them, so that they share an access token.
    const options = { projectId: project, auth: globalOperations.auth };
    return {
      globalOperations,
      regionOperations: new sdk.RegionOperationsClient(options),
      projects: new sdk.ProjectsClient(options),
      regions: new sdk.RegionsClient(options),
      networks: new sdk.NetworksClient(options),
      subnetworks: new sdk.SubnetworksClient(options),
      firewalls: new sdk.FirewallsClient(options),
      routers: new sdk.RoutersClient(options),
      addresses: new sdk.AddressesClient(options),
      forwardingRules: new sdk.ForwardingRulesClient(options),
      templates: new sdk.RegionInstanceTemplatesClient(options),
      groups: new sdk.RegionInstanceGroupManagersClient(options),
      autoscalers: new sdk.RegionAutoscalersClient(options),
      healthChecks: new sdk.RegionHealthChecksClient(options),
      backendServices: new sdk.RegionBackendServicesClient(options),
    };
  };
  return () => {
    made ??= make();
    return made;
  };
}
