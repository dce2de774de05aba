//! File systems of our own: small ones, in a mount namespace of their own, gone with the test.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::process::Start;

/// A mounted file system that only processes started through it see.
pub(crate) struct Volume {
    directory: tempfile::TempDir,
    /// Keeps the namespace; ends when its standard input does.
    holder: Child,
}

impl Volume {
    /// A tmpfs of so many MiB; what hinders it, otherwise.
    pub(crate) fn tmpfs(mebibytes: u32) -> Result<Self, String> {
        Self::mount(&format!("mount -t tmpfs -o size={mebibytes}m none \"$1\""))
    }

    /// An ext4 on a loop device over a file of so many MiB.
    pub(crate) fn ext4(mebibytes: u32) -> Result<Self, String> {
        Self::mount(&format!(
            "PATH=$PATH:/sbin:/usr/sbin; truncate -s {mebibytes}M \"$1.img\" \
             && mkfs.ext4 -q -m 0 \"$1.img\" >/dev/null \
             && mount -o loop,errors=remount-ro \"$1.img\" \"$1\""
        ))
    }

    /// An ext4 of a GiB on a disk that has only so many MiB: a write is taken, and fails late.
    pub(crate) fn thin(mebibytes: u32) -> Result<Self, String> {
        Self::mount(&format!(
            "PATH=$PATH:/sbin:/usr/sbin; mkdir \"$1.disk\" \
             && mount -t tmpfs -o size={mebibytes}m none \"$1.disk\" \
             && truncate -s 1G \"$1.disk/img\" && ln -s \"$1.disk/img\" \"$1.img\" \
             && mkfs.ext4 -q -m 0 -N 1024 -J size=4 -E lazy_itable_init=0 \"$1.img\" >/dev/null \
             && mount -o loop,errors=remount-ro \"$1.img\" \"$1\""
        ))
    }

    /// The disk of a thin volume has from now on what it has promised.
    #[track_caller]
    pub(crate) fn thicken(&self) {
        let done = self.run("mount -o remount,size=2g \"$1.disk\"");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Nothing is written for so many seconds. One command, so that it ends whatever
    /// becomes of the test.
    pub(crate) fn freeze(&self, seconds: u32) -> Output {
        self.run(&format!(
            "PATH=$PATH:/sbin:/usr/sbin; fsfreeze -f \"$1\" && sleep {seconds}; fsfreeze -u \"$1\""
        ))
    }

    /// A LazyFS, which forgets what was not synced when it is told to. The variable
    /// `TREECAST_LAZYFS` names the program.
    pub(crate) fn lazyfs() -> Result<Self, String> {
        let program =
            std::env::var("TREECAST_LAZYFS").map_err(|_| "TREECAST_LAZYFS names no LazyFS".to_owned())?;
        Self::mount(&format!(
            "mkdir \"$1.r\" && printf '%s\\n' '[faults]' \"fifo_path='$1.faults'\" \
             \"fifo_path_completed='$1.done'\" '[cache]' 'apply_eviction=false' '[cache.simple]' \
             'custom_size=\"512mb\"' 'blocks_per_page=1' '[filesystem]' 'log_all_operations=false' \
             \"logfile='$1.log'\" > \"$1.toml\" || exit 1; \
             cat > \"$1.sh\" <<'END'\n\
             rm -f \"$1.faults\" \"$1.done\"\n\
             '{program}' \"$1\" --config-path \"$1.toml\" -o allow_other -o modules=subdir \
             -o subdir=\"$1.r\" -f > \"$1.out\" 2>&1 &\n\
             echo $! > \"$1.pid\"\n\
             until grep -q \" $1 \" /proc/mounts; do sleep 0.1; kill -0 $! || exit 1; done\nEND\n\
             trap 'kill $(cat \"$1.pid\")' EXIT; sh \"$1.sh\" \"$1\""
        ))
    }

    /// Of the next write to any segment file only these eighths get to the disk of a LazyFS, which
    /// then ends with all that was not synced.
    pub(crate) fn tear_next_write(&self, eighths: &str) {
        // It takes no command before somebody listens to what it has done, and ends while others
        // are on their way. Of a longer command than 100 bytes it takes the beginning for all of it.
        let done = self.run(&format!(
            "exec 3<>\"$1.done\"; for file in \"$1.r\"/data/segment-*.log; do \
             command=lazyfs::torn-op::file=$file::parts=8::persist={eighths}; \
             [ ${{#command}} -lt 100 ] || exit 9; \
             timeout 0.2 sh -c \"echo $command > '$1.faults'\"; \
             sleep 0.1; done; sleep 1"
        ));
        assert!(done.status.success(), "{done:?}");
    }

    /// A LazyFS that has ended is there again.
    pub(crate) fn revive(&self) {
        let done = self.run("umount -l \"$1\"; sh \"$1.sh\" \"$1\" >/dev/null 2>&1 </dev/null");
        assert!(done.status.success(), "{done:?}");
    }

    /// A LazyFS forgets what was not synced.
    pub(crate) fn forget_unsynced(&self) {
        // It tells only who listens already, and then never again.
        let done = self
            .run("exec 3<>\"$1.done\"; echo lazyfs::clear-cache > \"$1.faults\"; timeout 20 head -n 1 <&3");
        assert!(done.status.success() && !done.stdout.is_empty(), "{done:?}");
    }

    /// Takes an ext4 off and mounts it again: what was not on the disk is not there any more.
    #[track_caller]
    pub(crate) fn mount_again(&self) {
        let done = self.run("umount \"$1\" && mount -o loop,errors=remount-ro \"$1.img\" \"$1\"");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn mount(script: &str) -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix("t").tempdir().expect("a directory");
        let point = directory.path().join("v");
        std::fs::create_dir(&point).expect("a mount point");
        let script = format!("{script} && echo ready && read -r _");
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
            .arg(&point)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare cannot be started: {error}"))?;
        let mut line = String::new();
        let output = holder.stdout.take().expect("it was asked for");
        BufReader::new(output).read_line(&mut line).map_err(|error| error.to_string())?;
        if line.trim() == "ready" {
            return Ok(Self { directory, holder });
        }
        let output = holder.wait_with_output().map_err(|error| error.to_string())?;
        Err(format!("nothing can be mounted: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    fn point(&self) -> PathBuf {
        self.directory.path().join("v")
    }

    /// The relay's data directory on the volume.
    pub(crate) fn data(&self) -> PathBuf {
        self.point().join("data")
    }

    /// A relay with its data on the volume.
    pub(crate) fn relay(&self) -> Start {
        let holder = self.holder.id().to_string();
        Start::new(&self.data()).under(&["nsenter", "--mount", "--target", &holder])
    }

    /// A path on the volume, as processes outside of it see it.
    pub(crate) fn seen(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(path.strip_prefix("/").expect("an absolute path"))
    }

    /// Runs a command where the volume is mounted, with its mount point as `$1`.
    pub(crate) fn run(&self, script: &str) -> Output {
        Command::new("nsenter")
            .args(["--mount", "--target", &self.holder.id().to_string(), "sh", "-c", script, "sh"])
            .arg(self.point())
            .output()
            .expect("nsenter is there as unshare was")
    }

    /// Fills the volume up to the last `left` bytes with a file that has a name of its own.
    pub(crate) fn fill(&self, left: u64) {
        let stat = rustix::fs::statvfs(self.seen(&self.point())).expect("the volume is mounted");
        let free = stat.f_bavail * stat.f_frsize;
        let mut filler = std::fs::File::create(self.filler()).expect("a file on the volume");
        let zeros = vec![0; 1 << 20];
        let mut rest = free.saturating_sub(left);
        while rest > 0 {
            let part = rest.min(zeros.len() as u64) as usize;
            // The relay takes room at the same time: as much as there is, is enough.
            if filler.write_all(&zeros[..part]).is_err() {
                break;
            }
            rest -= part as u64;
        }
    }

    /// Removes what [`Volume::fill`] has made.
    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.filler()).expect("the filler is there");
    }

    fn filler(&self) -> PathBuf {
        self.seen(&self.point().join("filler"))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        self.holder.wait().ok();
    }
}
