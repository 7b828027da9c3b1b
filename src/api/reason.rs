//! One vocabulary of reasons: of conditions, events, metric labels, reports and `docs/reasons.md`.

#[macro_use]
mod vocabulary;

impl Reason {
    /// The reason of this wire name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|r| r.as_str() == name)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

reasons! {
    Starting passing
        "A Job was made for the attempt and its Pod has not started yet."
        "Wait. If it lasts, look at the Pod's events: image, quota, node."
    Running passing
        "The worker runs."
        "Wait; `status.progress` says how far it is."
    Completed passing
        "Everything the spec asked for is done: the manifest is committed and its objects are in place."
        "Nothing."
    Verified passing
        "The objects were checked as deep as `verify` asks."
        "Nothing."
    Imported passing
        "The backup is in the repository: its catalogue entry was read. Its objects were not looked at."
        "Nothing; a Restore compares every object before it writes anything."
    Importing passing
        "The imported backup is looked up by the next probe of its BackupStorage."
        "Wait. If it lasts, see the conditions of the BackupStorage."
    AdoptionRefused passing
        "Not all that a probe had to do for imported Backups or orphans could be done: Kubernetes refused it (quota, admission policy, missing rights), or the store failed meanwhile."
        "Mend what the message names; it is tried again."
    NotVerifiedYet passing
        "Nothing was checked yet."
        "Wait for the attempt to end."
    Queued passing
        "Another backup of the same MatrixOne cluster runs; one at a time is allowed."
        "Wait; `status.queue` says the place."
    Retrying passing
        "The last attempt failed and another one will be made."
        "Nothing, or mend what the last attempt's reason names."
    Suspended passing
        "`spec.suspend` holds the object back."
        "Set `suspend: false` to go on."
    Cancelled permanent
        "A person cancelled it with the annotation mo-backup.io/cancel."
        "To start over, set the annotation mo-backup.io/retry to a new token."
    InvalidSpec permanent
        "The spec contradicts itself or names something impossible."
        "Mend what the message names and apply again."
    StorageNotFound passing
        "The BackupStorage that the spec names does not exist in this namespace."
        "Create it; the backup starts by itself."
    StorageNotReady passing
        "The BackupStorage is not ready, so that nothing can be written."
        "See the conditions of the BackupStorage; the backup starts by itself once it is Ready."
    StorageReadOnly permanent
        "The BackupStorage is read-only."
        "Use another BackupStorage, or one that owns its repository."
    ClusterNotFound passing
        "The MatrixOneCluster that the spec names does not exist in this namespace, or Kubernetes does not know such a kind."
        "Create it, or say `cluster.address` instead; the rest goes by itself."
    ClusterNotReady passing
        "The MatrixOneCluster that the spec names has no host and port in its status yet."
        "See its conditions; the rest goes by itself once it can be reached."
    BaseNotFound permanent
        "The Backup named by `base` does not exist, or its data is not in the repository."
        "Name another base, or leave `base` out."
    BaseNotUsable permanent
        "No base can be used for an incremental backup: other server, other history, or objects that the base does not have."
        "Take a full backup, or use type Auto."
    JobVanished passing
        "The Job of the attempt was deleted by somebody before it had ended."
        "Nothing; the next attempt is made. Find out who deletes Jobs."
    WorkerFailed passing
        "The worker ended without a report: killed, out of memory, evicted."
        "See the attempt's message and the Pod; raise `job.resources` if it was out of memory."
    NodeLost passing
        "The node of the worker cannot be reached, and the worker may still be alive there. No other one is started beside it."
        "Bring the node back. Or make sure that its machine is off, then delete the Node, or taint it with node.kubernetes.io/out-of-service=nodeshutdown:NoExecute; the rest goes by itself within two minutes. To delete the Pod does not help, not even by force."
    StartDeadlineExceeded passing
        "The Pod did not start within `deadlines.start`."
        "See the Pod's events: image, quota, node selector, missing Secret or claim."
    RunDeadlineExceeded passing
        "The attempt took longer than `deadlines.run`."
        "Raise `deadlines.run`, or find out what is slow."
    Stalled passing
        "Nothing moved for longer than `deadlines.stall`."
        "See the worker's log; look at the server and the store."
    NameConflict passing
        "An object that is not ours has the name of the Job to be made."
        "Delete that Job, or wait: after `deadlines.start` the next attempt takes another name."
    JobRefused passing
        "Kubernetes refused the Job: quota, admission policy, or missing rights."
        "Mend what the message names; it is tried again."
    NamespaceTerminating passing
        "The namespace is being deleted. The object is released and its data stays."
        "Delete Backups before their namespace, if their data is to be removed."
    Purging passing
        "A Job removes the data."
        "Wait."
    PurgeFailed passing
        "The data could not be removed."
        "Mend what the message names; it is tried again. To let the object go and keep the data, set `deletionPolicy: Retain`."
    Releasing passing
        "The worker is being stopped before the object is let go."
        "Wait."
    Held passing
        "`spec.hold` keeps the object and its data."
        "Set `hold: false` to let it be deleted."
    CrdOutdated permanent
        "The CustomResourceDefinition in the cluster is older than the program."
        "Apply the CRDs of this version (`mo-backup crds`)."
    Probing passing
        "A Job tries out the storage."
        "Wait."
    StorageReady passing
        "Backups can be written here."
        "Nothing."
    ServerUnreachable passing
        "MatrixOne does not answer at the given address."
        "Check host, port, network policies, and that the server runs."
    NotMatrixOne permanent
        "What answers at the address is no MatrixOne."
        "Correct `cluster.address`."
    LoginFailed permanent
        "MatrixOne refused the user or the password."
        "Correct the credentials Secret."
    NotSysAccount permanent
        "The user belongs to another account than `sys`; only `sys` can back up the cluster."
        "Use a user of account sys, such as `dump`."
    RoleTooWeak permanent
        "The user may not call `mo_ctl`, which a consistent backup needs."
        "Grant the user the role moadmin, or name it in the user name: `sys#dump#moadmin`."
    ServerTlsUnavailable permanent
        "TLS is required and the server does not offer it."
        "Switch TLS on in MatrixOne ([cn.frontend] enableTls), or set `tls.mode`."
    ServerTlsUntrusted permanent
        "The certificate of the server is not trusted, or TLS could not be agreed on."
        "Give the authority of the server's certificate in `tls.caSecret`, and in `tls.serverName` the name that it is for."
    ServerNotSupported permanent
        "This version of MatrixOne cannot do what the spec asks for."
        "See the message for what it can do."
    BackupRunning passing
        "A BACKUP of somebody else runs on this MatrixOne cluster; two at a time would take each other's protection."
        "Wait until it has ended; it is tried again."
    StatementFailed passing
        "MatrixOne answered the statement with an error."
        "See the message, it holds MatrixOne's own words."
    StatementUnknown passing
        "The connection broke while the statement ran, and how it ended could not be found out."
        "The next attempt looks first, and writes to a fresh place."
    StorageUnreachable passing
        "The object store, or the volume, does not answer."
        "Check endpoint, network policies, and that the store (or the file server of the volume) runs."
    StorageTlsUntrusted permanent
        "The certificate of the object store is not trusted."
        "Give the authority of the store's certificate in `s3.caSecret`, and in `s3.endpoint` the name that it is for."
    BucketNotFound permanent
        "The bucket does not exist."
        "Create the bucket, or name the right one in a new BackupStorage."
    StorageCredentialsRejected permanent
        "The object store refused the keys."
        "Correct the Secret that `credentialsSecret` names, or the rights of the keys."
    StorageCredentialsMissing permanent
        "No credentials for the object store were found."
        "Name a Secret in `credentialsSecret`, or give the ServiceAccounts mo-backup-worker and, for `adopt: All`, `spec.imported` and `sweep-orphans`, mo-backup-catalog of the namespace an identity. With `roleArn`, see that the role may be assumed."
    RegionMismatch permanent
        "The bucket lies in another region than the storage says."
        "Correct `s3.region`; the message names what the store expects."
    ClockSkewed passing
        "The clocks of the Pod's node and of the store differ by more than the store allows."
        "Set the clocks right (NTP)."
    StorageThrottled passing
        "The store kept asking to slow down."
        "Lower `parallelism`, or ask for more throughput."
    StorageFull passing
        "There is no space left in the store or on the volume."
        "Make space."
    StorageError passing
        "The store answered with an error."
        "See the message, it holds the store's own words."
    StorageSettingRefused permanent
        "The store does not encrypt, or does not know the storage class, as the storage asks."
        "Correct `s3.serverSideEncryption` or `s3.storageClass`, or leave it out; to encrypt, most stores need a key service."
    VolumeNotUsable permanent
        "The volume is not mounted, is not the one that MatrixOne sees, or the worker may not read and write there."
        "Check the claim, `serverPath`, `job.runAs` and the rights of the folder."
    StagingNotShared permanent
        "What MatrixOne wrote to the staging folder is not seen by the worker."
        "`staging.volume.serverPath` must be where MatrixOne's Pods mount the same claim and path."
    StagingNotEmptied passing
        "The files in the staging folder could not be removed after the commit."
        "Give `job.runAs` the user that MatrixOne runs as, and remove the folder that the message names."
    PrefixNotEmpty passing
        "The place for the attempt's objects is not empty."
        "The next attempt writes to a fresh place. If that is not empty either, something else writes into the repository: use a prefix of its own."
    RepositoryForeign permanent
        "The repository belongs to another BackupStorage: it can be read, adopted and restored from, and nothing is written."
        "For new backups make a BackupStorage with another prefix. The message names the owner."
    RepositoryDamaged permanent
        "Something in the repository is not as it was written."
        "The message names it. Do not rely on what it belongs to."
    UnexpectedFiles passing
        "Files lie in the catalogue of the repository whose names cannot be those of entries. They damage nothing."
        "The message names them. Find out what wrote them, and remove them."
    RepositoryTooNew permanent
        "The repository was written by a newer version of this program."
        "Use that version or a later one."
    MethodNotSupported permanent
        "The storage or the server cannot serve this method."
        "See the message; method Staged serves every storage."
    KeysInSql permanent
        "Keys of the store would be sent in SQL to a server whose logs can show them."
        "Set `allowKeysInSql: true`, use method Staged, or `serverCredentials: Ambient`."
    ObjectMissing passing
        "An object of the backup is not where it must be."
        "The message names it. A Backup takes it again in a fresh place; a Restore needs it back, or another backup."
    ObjectCorrupted passing
        "The content of an object is not what it must be."
        "The message names it; look at the store. A Backup takes it again in a fresh place; a Restore needs another backup."
    BackupIncomplete passing
        "What MatrixOne left behind is not a whole backup."
        "The message says what is missing. A Backup is taken again in a fresh place; a Restore needs another backup."
    BackupSentAgain passing
        "What a BACKUP statement left was not whole, so it was removed, and the statement was sent again. The backup that was kept is whole."
        "No action needed. The message says what was wrong."
    CheckpointsNotChecked passing
        "Whether MatrixOne starts on the backup could not be seen: its checkpoints are in a form that is not known, or too large."
        "Prove the backup by restoring it. The message names the file; a newer version of this program may be able to read it."
    TablesLost passing
        "The backup lacks rows of the tables that the message names. MatrixOne before 2.0 writes such a backup when it merges objects just as BACKUP takes its checkpoint; up to 4.1.4 it leaves out objects that are gone. It says nothing."
        "Tables that are not named are right. Take a Backup at a quieter hour. Before 2.0 pause merging meanwhile: `select mo_ctl('dn','inspect','policy -r 0 -m 0')`, and `select mo_ctl('dn','inspect','policy')` sets the defaults again."
    TablesNotChecked passing
        "MatrixOne before 2.0 can lose tables in a backup, and whether it has could not be seen."
        "Prove the backup by restoring it, or upgrade MatrixOne."
    CommitConflict passing
        "Another worker has committed this backup, or the attempt was ended by a removal or by a later attempt."
        "No action needed: a backup that is committed counts, otherwise the next attempt is made."
    Interrupted passing
        "The worker was told to stop."
        "Nothing; the next attempt is made."
    ServerMaySkipObjects passing
        "Servers up to 4.1.4 leave out objects that are gone, without a word; the list cannot show it."
        "Prove the backup by restoring it, or upgrade MatrixOne."
    NoGcProtection passing
        "Servers up to 3.0.4 do not protect a running backup from garbage collection; the worker held the minimum timestamp instead."
        "Upgrade MatrixOne."
    GcNotReleased passing
        "MatrixOne's garbage collection was held back for the backup, and could not be released: it removes nothing that is newer."
        "The next attempt of any Backup of this MatrixOne releases it, and so does a restart of MatrixOne. Or run `select mo_ctl('dn','DiskCleaner','remove_checker.min_ts.')` as a user with role moadmin."
    ConditionalCreateMissing passing
        "The store overwrites where it should refuse; two workers could not be told apart."
        "Let only one operator write to this repository, or use another store."
    DeletionOnlyHides passing
        "The bucket keeps versions: what is deleted is hidden and goes on taking space."
        "Let a lifecycle rule of the bucket remove noncurrent versions."
    ObjectsLocked passing
        "The bucket locks its objects: nobody can free their space before the lock ends."
        "Keep backups for at least as long, and let a lifecycle rule of the bucket remove noncurrent versions."
    BackupNotFound permanent
        "The repository has no such backup."
        "The message names the nearest one, where there is one. Name another backup or time in a new Restore."
    BackupForeign permanent
        "The backup was written for another repository; somebody copied its entry into this one."
        "Restore it from the repository that it was written for, or from a whole copy of that."
    ClusterAmbiguous permanent
        "The repository holds backups of more than one MatrixOne, and `latest` or `before` does not say of which one."
        "The message names the newest of each. In a new Restore set `source.repository.identity` or `source.repository.address`, or name the backup by its `id`."
    BackupInFuture passing
        "The data of a backup is of a later time than now: a clock is wrong, or was. `latest` and `before` pass such a backup over."
        "Correct the clock. To restore this backup all the same, name it by its `id`."
    TargetNotEmpty permanent
        "The target of the Restore is not empty, and what lies there is not this Restore's own. Nothing is ever overwritten."
        "Name a fresh place in a new Restore, or empty this one."
    PlanChanged permanent
        "What would be done is not what `approvedPlan` allows."
        "Look at `status.report.plan`, and approve that one."
    EmptyingStaging passing
        "A Job removes what a stopped worker left in the staging folder. The data of the backup stays."
        "Wait."
    BackupNotReady passing
        "The Backup to be restored is not complete."
        "The Restore starts once it is; if it failed, name another one."
    Planned passing
        "The plan is in the report, and nothing was written."
        "To carry it out, set `mode: Execute` and `approvedPlan` to the hash."
    NotBooted passing
        "Every object is in place; a MatrixOne has still to be started on it."
        "Start it as the ConfigMap `<name>-boot` says."
    WaitingForBoot passing
        "Every object is in place, and the Restore waits for MatrixOne to answer at `target.cluster`."
        "Start it as the ConfigMap `<name>-boot` says."
    Proving passing
        "MatrixOne answers, and the values of its tables are read."
        "Wait; `status.progress` says how far it is."
    Proven passing
        "MatrixOne runs on the restored data, gives no id twice, and every table that the given users see was read."
        "Nothing; `status.proof` says what was read, and of which accounts."
    NotProven passing
        "The MatrixOne that was started on the restored place was not proven."
        "See the condition Ready."
    BootDeadlineExceeded permanent
        "MatrixOne did not answer at `target.cluster` within `proof.bootDeadline`."
        "See the log of the new MatrixOne, and compare its files with the ConfigMap `<name>-boot`: it ends at once when a file service is told the wrong format. Then ask for another proof."
    ProofOutdated passing
        "`target.cluster` or `proof` was changed while MatrixOne was waited for, or proven."
        "Nothing; the proof begins anew, with what the spec says now."
    IdsRestarted permanent
        "The new MatrixOne was started without `hk_data`, and gives ids a second time: what it writes can destroy what was restored."
        "Stop it at once. Restore into another fresh place, and start MatrixOne there as the ConfigMap `<name>-boot` says."
    NotTheRestored permanent
        "The MatrixOne at `target.cluster` is not the one that was started on the restored place."
        "Correct `target.cluster`, and ask for another proof."
    ServerTooOld permanent
        "The new MatrixOne is of an older version than the one that was backed up, which it does not notice itself."
        "Stop it. Restore into another fresh place, and start the version there that `status.report.serverVersion` names."
    VersionNotTried passing
        "This version of MatrixOne was never tried on data of the version that was backed up."
        "Start the version that was backed up, if you can. Otherwise check every table before you let users in. `docs/restore.md` lists the versions that were tried."
    VersionNotSuitable permanent
        "This version of MatrixOne does not work on data of the version that was backed up: it was tried."
        "Stop it. Restore into another fresh place, and start the version there that `status.report.serverVersion` names. `docs/restore.md` lists the versions that were tried."
    UpgradeNotSettled passing
        "MatrixOne has not ended the upgrade of its own tables."
        "See its log; the proof is tried again."
    ValuesUnreadable permanent
        "The values of a table cannot be read in the new MatrixOne: an object of it is missing or damaged."
        "The message names the table. Restore into another fresh place, and let nobody touch it before MatrixOne starts."
    ReadForbidden permanent
        "A user that was given for the proof may not read some tables, or not make a database."
        "Give a user with role moadmin of account sys in `target.cluster`, and with role accountadmin in each of `proof.credentialsSecrets`."
    AccountsNotRead passing
        "The proof has not read the tables of some accounts, because it was given no login of theirs."
        "Name Secrets with users of these accounts in `proof.credentialsSecrets`, or look yourself."
    TablesNotRead passing
        "Some tables were not read: tables of MatrixOne's own that nobody can read, whatever they hold, or tables that were dropped meanwhile or not found by name."
        "Nothing, as long as no table of yours is among them that should be there."
    VersionNotCompared passing
        "The version of the new MatrixOne was not compared with that of the one that was backed up: one of the two is not known."
        "Make sure that the new one is of the same version; MatrixOne does not notice itself."
    OldServerNotRuledOut passing
        "The new MatrixOne shows nothing that tells it from the server that was backed up."
        "Make sure that `target.cluster` names the new one: give it an address of its own."
    AlreadyRestored passing
        "A Restore of this name has filled this target before, perhaps from another Kubernetes cluster. Nothing was touched."
        "Nothing; to restore anew, make a Restore with another target."
    Internal passing
        "A fault of this program."
        "Please report it, with the worker's log."
}
