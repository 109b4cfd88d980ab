"""core/v1: the volumes of a pod and everything that one can be made from."""

from __future__ import annotations

from kube.api.container import ObjectFieldSelector, ResourceFieldSelector
from kube.api.meta import AlwaysStr, LabelSelector, Model, ObjectMeta, always
from kube.api.references import LocalObjectReference, TypedLocalObjectReference, TypedObjectReference
from kube.api.scalars import AlwaysInt32, Int32, Int64, Present, Quantity, ResourceList


class HostPathVolumeSource(Model):
    """A path of the node."""

    path: AlwaysStr = always()
    """Path on the node."""
    type: str | None = None
    """What must be there, or is made: empty, `DirectoryOrCreate`, `Directory`, `FileOrCreate`, `File`, …"""


class EmptyDirVolumeSource(Model):
    """An empty directory that lives as long as the pod."""

    medium: str = ""
    """Empty for the node's disk, `Memory` for tmpfs."""
    sizeLimit: Quantity | None = None
    """The most it may hold."""


class GCEPersistentDiskVolumeSource(Model):
    """A Google Compute disk."""

    pdName: AlwaysStr = always()
    """Name of the disk."""
    fsType: str = ""
    """File system."""
    partition: Int32 = 0
    """Partition; 0: the whole disk."""
    readOnly: bool = False
    """Whether it is read-only."""


class AWSElasticBlockStoreVolumeSource(Model):
    """An Amazon EBS disk."""

    volumeID: AlwaysStr = always()
    """ID of the disk."""
    fsType: str = ""
    """File system."""
    partition: Int32 = 0
    """Partition; 0: the whole disk."""
    readOnly: bool = False
    """Whether it is read-only."""


class GitRepoVolumeSource(Model):
    """A checked-out git repository. Deprecated."""

    repository: AlwaysStr = always()
    """URL of the repository."""
    revision: str = ""
    """Commit."""
    directory: str = ""
    """Directory in the volume."""


class KeyToPath(Model):
    """Where one key becomes a file."""

    key: AlwaysStr = always()
    """The key."""
    path: AlwaysStr = always()
    """Path of the file in the volume."""
    mode: Int32 | None = None
    """Mode bits of the file; none: the volume's default."""


class SecretVolumeSource(Model):
    """The keys of a secret, as files."""

    secretName: str = ""
    """Name of the secret."""
    items: list[KeyToPath] = []
    """Keys to show, and where; empty: all."""
    defaultMode: Int32 | None = None
    """Mode bits of the files."""
    optional: bool | None = None
    """Whether the secret may be missing."""


class ConfigMapVolumeSource(LocalObjectReference):
    """The keys of a config map, as files."""

    items: list[KeyToPath] = []
    """Keys to show, and where; empty: all."""
    defaultMode: Int32 | None = None
    """Mode bits of the files."""
    optional: bool | None = None
    """Whether the config map may be missing."""


class NFSVolumeSource(Model):
    """A directory of a NFS server."""

    server: AlwaysStr = always()
    """Host of the server."""
    path: AlwaysStr = always()
    """Exported path."""
    readOnly: bool = False
    """Whether it is read-only."""


class ISCSIVolumeSource(Model):
    """An iSCSI disk."""

    targetPortal: AlwaysStr = always()
    """Address of the target."""
    iqn: AlwaysStr = always()
    """Qualified name of the target."""
    lun: AlwaysInt32 = always()
    """Unit of the target."""
    iscsiInterface: str = ""
    """Interface; empty: `default`."""
    fsType: str = ""
    """File system."""
    readOnly: bool = False
    """Whether it is read-only."""
    portals: list[str] = []
    """Further addresses of the target."""
    chapAuthDiscovery: bool = False
    """Whether discovery uses CHAP."""
    chapAuthSession: bool = False
    """Whether the session uses CHAP."""
    secretRef: LocalObjectReference | None = None
    """Secret for CHAP."""
    initiatorName: str | None = None
    """Name of the initiator."""


class GlusterfsVolumeSource(Model):
    """A Gluster volume."""

    endpoints: AlwaysStr = always()
    """Endpoints object that names the servers."""
    path: AlwaysStr = always()
    """Name of the volume."""
    readOnly: bool = False
    """Whether it is read-only."""


class PersistentVolumeClaimVolumeSource(Model):
    """A persistent volume, by its claim."""

    claimName: AlwaysStr = always()
    """Name of the claim."""
    readOnly: bool = False
    """Whether it is read-only."""


class RBDVolumeSource(Model):
    """A Ceph block device."""

    monitors: Present[list[str]] = always()
    """Ceph's monitors."""
    image: AlwaysStr = always()
    """Name of the image."""
    fsType: str = ""
    """File system."""
    pool: str = ""
    """Pool of the image."""
    user: str = ""
    """User."""
    keyring: str = ""
    """File of the user's key ring."""
    secretRef: LocalObjectReference | None = None
    """Secret of the user."""
    readOnly: bool = False
    """Whether it is read-only."""


class FlexVolumeSource(Model):
    """A volume made by a plug-in on the node. Deprecated."""

    driver: AlwaysStr = always()
    """Name of the plug-in."""
    fsType: str = ""
    """File system."""
    secretRef: LocalObjectReference | None = None
    """Secret for the plug-in."""
    readOnly: bool = False
    """Whether it is read-only."""
    options: dict[str, str] = {}
    """The plug-in's options."""


class CinderVolumeSource(Model):
    """An OpenStack disk."""

    volumeID: AlwaysStr = always()
    """ID of the disk."""
    fsType: str = ""
    """File system."""
    readOnly: bool = False
    """Whether it is read-only."""
    secretRef: LocalObjectReference | None = None
    """Secret for OpenStack."""


class CephFSVolumeSource(Model):
    """A Ceph file system."""

    monitors: Present[list[str]] = always()
    """Ceph's monitors."""
    path: str = ""
    """Root in the file system."""
    user: str = ""
    """User."""
    secretFile: str = ""
    """File of the user's key."""
    secretRef: LocalObjectReference | None = None
    """Secret of the user."""
    readOnly: bool = False
    """Whether it is read-only."""


class FlockerVolumeSource(Model):
    """A Flocker dataset. Deprecated."""

    datasetName: str = ""
    """Name of the dataset."""
    datasetUUID: str = ""
    """UUID of the dataset."""


class DownwardAPIVolumeFile(Model):
    """A file with something about the pod."""

    path: AlwaysStr = always()
    """Path of the file in the volume."""
    fieldRef: ObjectFieldSelector | None = None
    """A field of the pod."""
    resourceFieldRef: ResourceFieldSelector | None = None
    """A request or limit of a container."""
    mode: Int32 | None = None
    """Mode bits of the file."""


class DownwardAPIVolumeSource(Model):
    """Files with things about the pod."""

    items: list[DownwardAPIVolumeFile] = []
    """The files."""
    defaultMode: Int32 | None = None
    """Mode bits of the files."""


class FCVolumeSource(Model):
    """A Fibre Channel disk."""

    targetWWNs: list[str] = []
    """Names of the targets."""
    lun: Int32 | None = None
    """Unit of the target."""
    fsType: str = ""
    """File system."""
    readOnly: bool = False
    """Whether it is read-only."""
    wwids: list[str] = []
    """Identifiers of the volume, instead of targets and unit."""


class AzureFileVolumeSource(Model):
    """An Azure share."""

    secretName: AlwaysStr = always()
    """Secret with the account."""
    shareName: AlwaysStr = always()
    """Name of the share."""
    readOnly: bool = False
    """Whether it is read-only."""


class VsphereVirtualDiskVolumeSource(Model):
    """A vSphere disk."""

    volumePath: AlwaysStr = always()
    """Path of the disk."""
    fsType: str = ""
    """File system."""
    storagePolicyName: str = ""
    """Name of the storage policy."""
    storagePolicyID: str = ""
    """ID of the storage policy."""


class QuobyteVolumeSource(Model):
    """A Quobyte volume. Deprecated."""

    registry: AlwaysStr = always()
    """Addresses of the registries."""
    volume: AlwaysStr = always()
    """Name of the volume."""
    readOnly: bool = False
    """Whether it is read-only."""
    user: str = ""
    """User."""
    group: str = ""
    """Group."""
    tenant: str = ""
    """Tenant."""


class AzureDiskVolumeSource(Model):
    """An Azure disk."""

    diskName: AlwaysStr = always()
    """Name of the disk."""
    diskURI: AlwaysStr = always()
    """URI of the disk."""
    cachingMode: str | None = None
    """`None`, `ReadOnly` or `ReadWrite`."""
    fsType: str | None = None
    """File system."""
    readOnly: bool | None = None
    """Whether it is read-only."""
    kind: str | None = None
    """`Shared`, `Dedicated` or `Managed`."""


class PhotonPersistentDiskVolumeSource(Model):
    """A Photon disk. Deprecated."""

    pdID: AlwaysStr = always()
    """ID of the disk."""
    fsType: str = ""
    """File system."""


class SecretProjection(LocalObjectReference):
    """The keys of a secret, in a projected volume."""

    items: list[KeyToPath] = []
    """Keys to show, and where; empty: all."""
    optional: bool | None = None
    """Whether the secret may be missing."""


class ConfigMapProjection(LocalObjectReference):
    """The keys of a config map, in a projected volume."""

    items: list[KeyToPath] = []
    """Keys to show, and where; empty: all."""
    optional: bool | None = None
    """Whether the config map may be missing."""


class DownwardAPIProjection(Model):
    """Things about the pod, in a projected volume."""

    items: list[DownwardAPIVolumeFile] = []
    """The files."""


class ServiceAccountTokenProjection(Model):
    """A token of the pod's service account, in a projected volume."""

    audience: str = ""
    """Whom the token is for; empty: the API server."""
    expirationSeconds: Int64 | None = None
    """How long it is valid; it is renewed in time."""
    path: AlwaysStr = always()
    """Path of the file in the volume."""


class ClusterTrustBundleProjection(Model):
    """Trust anchors, in a projected volume."""

    name: str | None = None
    """Name of one bundle."""
    signerName: str | None = None
    """All bundles of a signer."""
    labelSelector: LabelSelector | None = None
    """Which of the signer's bundles."""
    optional: bool | None = None
    """Whether the bundles may be missing."""
    path: AlwaysStr = always()
    """Path of the file in the volume."""


class VolumeProjection(Model):
    """One part of a projected volume: one of these."""

    secret: SecretProjection | None = None
    """Keys of a secret."""
    downwardAPI: DownwardAPIProjection | None = None
    """Things about the pod."""
    configMap: ConfigMapProjection | None = None
    """Keys of a config map."""
    serviceAccountToken: ServiceAccountTokenProjection | None = None
    """A token of the pod's service account."""
    clusterTrustBundle: ClusterTrustBundleProjection | None = None
    """Trust anchors."""


class ProjectedVolumeSource(Model):
    """Several sources in one directory."""

    sources: Present[list[VolumeProjection]] = always()
    """The parts."""
    defaultMode: Int32 | None = None
    """Mode bits of the files."""


class PortworxVolumeSource(Model):
    """A Portworx volume."""

    volumeID: AlwaysStr = always()
    """ID of the volume."""
    fsType: str = ""
    """File system."""
    readOnly: bool = False
    """Whether it is read-only."""


class ScaleIOVolumeSource(Model):
    """A ScaleIO volume. Deprecated."""

    gateway: AlwaysStr = always()
    """Address of the gateway."""
    system: AlwaysStr = always()
    """Name of the system."""
    secretRef: LocalObjectReference | None = None
    """Secret of the user."""
    sslEnabled: bool = False
    """Whether TLS is used."""
    protectionDomain: str = ""
    """Protection domain."""
    storagePool: str = ""
    """Storage pool."""
    storageMode: str = ""
    """`ThickProvisioned` or `ThinProvisioned`."""
    volumeName: str = ""
    """Name of the volume."""
    fsType: str = ""
    """File system."""
    readOnly: bool = False
    """Whether it is read-only."""


class StorageOSVolumeSource(Model):
    """A StorageOS volume. Deprecated."""

    volumeName: str = ""
    """Name of the volume."""
    volumeNamespace: str = ""
    """Its namespace in StorageOS."""
    fsType: str = ""
    """File system."""
    readOnly: bool = False
    """Whether it is read-only."""
    secretRef: LocalObjectReference | None = None
    """Secret for StorageOS."""


class CSIVolumeSource(Model):
    """A volume made for the pod by a CSI driver."""

    driver: AlwaysStr = always()
    """Name of the driver."""
    readOnly: bool | None = None
    """Whether it is read-only."""
    fsType: str | None = None
    """File system."""
    volumeAttributes: dict[str, str] = {}
    """The driver's own properties."""
    nodePublishSecretRef: LocalObjectReference | None = None
    """Secret for the driver."""


class VolumeResourceRequirements(Model):
    """How large a volume must be."""

    limits: ResourceList = {}
    """The most."""
    requests: ResourceList = {}
    """The least."""


class PersistentVolumeClaimSpec(Model):
    """What a claim wants."""

    accessModes: list[str] = []
    """How it will be mounted: `ReadWriteOnce`, …"""
    selector: LabelSelector | None = None
    """Which volumes fit."""
    resources: Present[VolumeResourceRequirements] = always()
    """How large."""
    volumeName: str = ""
    """The volume that is bound to it."""
    storageClassName: str | None = None
    """Class of the volume."""
    volumeMode: str | None = None
    """`Filesystem` or `Block`."""
    dataSource: TypedLocalObjectReference | None = None
    """What it is filled from."""
    dataSourceRef: TypedObjectReference | None = None
    """What it is filled from, of any kind."""
    volumeAttributesClassName: str | None = None
    """Class of attributes."""


class PersistentVolumeClaimTemplate(Model):
    """A claim that is made for the pod."""

    metadata: Present[ObjectMeta] = always()
    """Labels and annotations of the claim."""
    spec: Present[PersistentVolumeClaimSpec] = always()
    """What the claim wants."""


class EphemeralVolumeSource(Model):
    """A persistent volume that lives as long as the pod."""

    volumeClaimTemplate: PersistentVolumeClaimTemplate | None = None
    """The claim that is made for the pod."""


class ImageVolumeSource(Model):
    """The files of an image."""

    reference: str = ""
    """Name of the image."""
    pullPolicy: str = ""
    """`Always`, `IfNotPresent` or `Never`."""


class VolumeSource(Model):
    """What a volume is made from: one of these."""

    hostPath: HostPathVolumeSource | None = None
    """A path of the node."""
    emptyDir: EmptyDirVolumeSource | None = None
    """An empty directory that lives as long as the pod."""
    gcePersistentDisk: GCEPersistentDiskVolumeSource | None = None
    """A Google Compute disk."""
    awsElasticBlockStore: AWSElasticBlockStoreVolumeSource | None = None
    """An Amazon EBS disk."""
    gitRepo: GitRepoVolumeSource | None = None
    """A checked-out git repository. Deprecated."""
    secret: SecretVolumeSource | None = None
    """The keys of a secret."""
    nfs: NFSVolumeSource | None = None
    """A directory of a NFS server."""
    iscsi: ISCSIVolumeSource | None = None
    """An iSCSI disk."""
    glusterfs: GlusterfsVolumeSource | None = None
    """A Gluster volume."""
    persistentVolumeClaim: PersistentVolumeClaimVolumeSource | None = None
    """A persistent volume, by its claim."""
    rbd: RBDVolumeSource | None = None
    """A Ceph block device."""
    flexVolume: FlexVolumeSource | None = None
    """A volume made by a plug-in on the node."""
    cinder: CinderVolumeSource | None = None
    """An OpenStack disk."""
    cephfs: CephFSVolumeSource | None = None
    """A Ceph file system."""
    flocker: FlockerVolumeSource | None = None
    """A Flocker dataset."""
    downwardAPI: DownwardAPIVolumeSource | None = None
    """Things about the pod."""
    fc: FCVolumeSource | None = None
    """A Fibre Channel disk."""
    azureFile: AzureFileVolumeSource | None = None
    """An Azure share."""
    configMap: ConfigMapVolumeSource | None = None
    """The keys of a config map."""
    vsphereVolume: VsphereVirtualDiskVolumeSource | None = None
    """A vSphere disk."""
    quobyte: QuobyteVolumeSource | None = None
    """A Quobyte volume."""
    azureDisk: AzureDiskVolumeSource | None = None
    """An Azure disk."""
    photonPersistentDisk: PhotonPersistentDiskVolumeSource | None = None
    """A Photon disk."""
    projected: ProjectedVolumeSource | None = None
    """Several sources in one directory."""
    portworxVolume: PortworxVolumeSource | None = None
    """A Portworx volume."""
    scaleIO: ScaleIOVolumeSource | None = None
    """A ScaleIO volume."""
    storageos: StorageOSVolumeSource | None = None
    """A StorageOS volume."""
    csi: CSIVolumeSource | None = None
    """A volume made by a CSI driver."""
    ephemeral: EphemeralVolumeSource | None = None
    """A persistent volume that lives as long as the pod."""
    image: ImageVolumeSource | None = None
    """The files of an image."""


class Volume(VolumeSource):
    """A volume of a pod."""

    name: AlwaysStr = always()
    """Name that mounts use, unique in the pod."""
