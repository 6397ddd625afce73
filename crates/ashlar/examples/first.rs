//! The first program: a file system in a file.

fn main() -> ashlar::Result<()> {
    let volume = ashlar::Volume::create("disk.img", 64 << 20)?;
    volume.write("hello.txt", "Hello, world\n")?;
    volume.sync()?;
    print!("{}", volume.read_to_string("hello.txt")?);
    volume.close()
}
